"""`make gpu` itself: its time, its exit status, what it writes, whatever becomes of its stages."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cases.reports import full_report, measurement, small_report
from onepass.__main__ import main as onepass
from onepass.bench.promises.promise import Promise, ratio, row
from onepass.bench.report.record import read_report
from programs import PYTHONPATH, TESTS, alive

from proving.machine import figures as gpu_figures
from proving.machine import machine as gpu_machine
from proving.machine import prove as gpu_proof
from proving.machine.machine import Machine
from proving.machine.stage import FAILED, NOT_RUN, OUT_OF_TIME, PASSED, WORTHLESS, Stage
from proving.machine.summary import VERDICTS, summary
from proving.made_up_driver import installing

ROOT = Path(gpu_proof.ROOT)
FACTS = {"available": True, "name": "NVIDIA H9", "driver": "999.1", "compute capability": "9.9"}
GPU = Machine(FACTS, {}, {"python": "3.12", "cupy-cuda13x": "14.2.0"}, "Some CPU, 16 cores")
NO_GPU = Machine({"available": False, "reason": "none here", "remedy": "buy one"}, {}, {}, "")

pytestmark = pytest.mark.skipif(
    not (ROOT / "Makefile").exists(), reason="a checkout is what `make gpu` proves"
)


@pytest.fixture
def proof(tmp_path, monkeypatch):
    """Run the proof with waves that are given; (status, content of the JSON, the page)."""
    monkeypatch.setattr(gpu_proof, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(gpu_proof, "SCRATCH", tmp_path / "scratch")

    def run(waves=None, machine=GPU, arguments=()):
        monkeypatch.setattr(gpu_proof, "look", lambda environment: machine)
        monkeypatch.setattr(gpu_proof, "runs", lambda: {**PASSING, **MORE, **(waves or {})})
        status = gpu_proof.main(list(arguments))
        ((json_file,), (page,)) = (list(tmp_path.rglob(f"*{end}")) for end in (".json", ".md"))
        assert json_file.stem == page.stem
        assert not list(tmp_path.rglob("*.part"))
        content = json.loads(json_file.read_text(encoding="utf-8"))
        assert content["status"] == status
        return status, content, page

    return run


def wave(*stages):
    return lambda machine, place, seconds: list(stages)


def report():
    return {"format": 1, **asdict(full_report(gpu=True))}


PASSING = {
    "kernels": wave(Stage("kernels", PASSED)),
    "figures": lambda *of: ([Stage("figures", PASSED)], report()),
    "tests on the GPU": wave(Stage("tests on the GPU", PASSED)),
    "sanitizers": wave(Stage("sanitizers", PASSED, seconds=3.0)),
}
MORE = {
    "all other tests": wave(Stage("all other tests", PASSED)),
    "benchmark": lambda *of: ([Stage("benchmark", PASSED)], report()),
}


def outcomes(content):
    return {stage["name"]: stage["outcome"] for stage in content["stages"]}


# --- exit status and outcomes ---------------------------------------------------------------------
def test_all_passed_is_0_and_kept_with_device_driver_versions_and_date(proof, tmp_path):
    status, content, page = proof()
    assert status == 0
    assert page.parent == tmp_path / "kept"
    assert page.name == f"{content['date']}-gpu-nvidia-h9-proof.md"
    assert set(content) == {
        *("format", "kind", "date", "began", "seconds", "status", "commit", "machine", "stages"),
        "benchmark",
    }
    assert content["machine"]["gpu"] == FACTS
    assert content["began"].startswith(content["date"])
    text = page.read_text(encoding="utf-8")
    for word in ("NVIDIA H9", "999.1", "14.2.0", content["date"], VERDICTS[0], "sanitizers"):
        assert word in text


@pytest.mark.parametrize(
    ("outcome", "status"), [(PASSED, 0), (FAILED, 1), (NOT_RUN, 2), (OUT_OF_TIME, 2)]
)
@pytest.mark.parametrize("name", list(PASSING))
def test_one_stage_decides_the_status_and_the_others_run(proof, name, outcome, status):
    found, content, page = proof({name: wave(Stage(name, outcome, "because | so"))})
    assert found == status
    assert outcomes(content) == dict.fromkeys(PASSING, PASSED) | {name: outcome}
    assert "because \\| so" in page.read_text(encoding="utf-8")
    assert VERDICTS[status] in page.read_text(encoding="utf-8")


def test_a_failure_weighs_more_than_what_did_not_run(proof):
    waves = {"kernels": wave(Stage("kernels", NOT_RUN)), "sanitizers": wave(Stage("s", FAILED))}
    assert proof(waves)[0] == 1


def test_a_wave_that_breaks_is_a_failure_and_the_others_run(proof):
    def broken(machine, place, seconds):
        raise LookupError("no such thing")

    status, content, _ = proof({"figures": broken})
    assert status == 1
    assert outcomes(content)["sanitizers"] == PASSED
    (stage,) = (one for one in content["stages"] if one["name"] == "figures")
    assert stage["outcome"] == FAILED
    assert "no such thing" in stage["reason"]


# --- what can't be had ----------------------------------------------------------------------------
def never(machine, place, seconds):
    raise AssertionError("a wave was begun")


def test_without_a_gpu_nothing_runs_and_nothing_is_kept(proof, tmp_path):
    status, content, page = proof(dict.fromkeys(PASSING, never), NO_GPU)
    assert status == 2
    assert page.parent == tmp_path / "scratch"
    assert set(outcomes(content).values()) == {NOT_RUN}
    assert {one["reason"] for one in content["stages"]} == {"no GPU: none here. buy one."}
    assert content["benchmark"] is None


def test_a_dry_run_without_a_gpu_runs_what_needs_none(proof, tmp_path):
    begun = []
    waves = {name: lambda *of, name=name: begun.append(name) or [] for name in PASSING}
    waves["figures"] = lambda *of: ([Stage("figures", NOT_RUN, "no GPU")], None)
    assert proof(waves, NO_GPU, ["--dry-run"])[0] == 2
    assert begun == ["kernels", "tests on the GPU", "sanitizers"]


def test_everything_has_the_other_tests_and_the_benchmark_with_a_time_of_their_own(proof):
    status, content, _ = proof(arguments=["--everything"])
    assert status == 0
    assert list(outcomes(content)) == [*PASSING, *MORE]
    figures, whole = report(), content["benchmark"]
    assert len(whole["measurements"]) == 2 * len(figures["measurements"])


def test_a_missing_package_is_told_before_anything_runs(proof, monkeypatch):
    monkeypatch.setattr(gpu_proof, "missing_packages", lambda: ["array-api-compat"])
    status, content, page = proof(dict.fromkeys(PASSING, never))
    assert status == 2
    assert all("array-api-compat" in one["reason"] for one in content["stages"])
    assert "pip download" in page.read_text(encoding="utf-8")


def test_a_wheel_in_a_folder_makes_up_for_what_is_missing(proof, monkeypatch, tmp_path):
    """As array-api-compat does where it is missing: found here, and by what is started."""
    with zipfile.ZipFile(tmp_path / "some_needed_thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_needed_thing/__init__.py", "told = 'by a wheel'")
    monkeypatch.setattr(gpu_machine, "_NEEDED", ("some-needed-thing",))
    monkeypatch.setattr(sys, "path", list(sys.path))
    seen = []

    def look(machine, place, seconds):
        program = "import some_needed_thing; print(some_needed_thing.told)"
        seen.append(place.run([place.python("one", "-c", program)], 60)["one"].output)
        return []

    assert proof({"kernels": look}, arguments=["--wheels", str(tmp_path)])[0] == 0
    assert seen == ["by a wheel\n"]


def test_what_is_optional_is_named_and_stops_nothing(proof):
    machine = replace(GPU, left_out={"torch": "PyTorch's figures"}, nvidia_smi=["a table"])
    status, content, page = proof(machine=machine)
    assert status == 0
    assert content["machine"]["left_out"] == {"torch": "PyTorch's figures"}
    text = page.read_text(encoding="utf-8")
    assert "- torch is not there: PyTorch's figures" in text
    assert "\n    a table" in text


def test_the_folder_can_be_chosen_for_all_that_is_written(proof, tmp_path):
    out, streams = tmp_path / "new" / "folder", []

    def look(machine, place, seconds):
        streams.append(place.stream("tests.jsonl"))
        return []

    *_, page = proof({"kernels": look}, arguments=["--out", str(out)])
    assert page.parent == out
    assert streams == [out / "onepass-tests.jsonl"]


# --- time -----------------------------------------------------------------------------------------
class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(
    ("took", "limits"),
    [
        ((0, 0, 0, 0), (110, 300, 440, 520)),  # what one leaves over, the next ones may use
        ((110, 190, 140, 80), (110, 190, 140, 80)),  # all that each has
        ((113, 190, 140, 0), (110, 187, 137, 77)),  # a little too long
    ],
)
def test_waves_share_the_time_and_their_limits_add_up(proof, monkeypatch, took, limits):
    clock, asked = Clock(), []
    monkeypatch.setattr(gpu_proof, "time", clock)

    def spend(seconds):
        def run(machine, place, limit):
            asked.append(limit)
            clock.now += seconds
            return []

        return run

    waves = {name: spend(seconds) for name, seconds in zip(PASSING, took, strict=True)}
    proof(waves)
    assert asked == [pytest.approx(limit) for limit in limits]
    assert gpu_proof.SECONDS < 9 * 60 - 10


def test_less_time_is_shared_alike(proof, monkeypatch):
    monkeypatch.setattr(gpu_proof, "time", Clock())
    asked = []
    waves = {name: lambda m, p, limit: asked.append(limit) or [] for name in PASSING}
    proof(waves, arguments=["--seconds", "52"])
    assert asked[0] == pytest.approx(11, abs=0.1)


# --- being stopped --------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_there_is_is_written_when_it_is_stopped(proof, number):
    def stopped(machine, place, seconds):
        os.kill(os.getpid(), number)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    status, content, _ = proof({"tests on the GPU": stopped})
    assert status == 2
    assert outcomes(content) == {
        "kernels": PASSED,
        "figures": PASSED,
        "tests on the GPU": NOT_RUN,
        "sanitizers": NOT_RUN,
    }
    assert content["stages"][-1]["reason"] == "it was stopped"
    assert signal.getsignal(signal.SIGTERM) == before


def test_until_its_end_the_file_says_what_was_not_reached(proof, tmp_path):
    seen = []

    def look(machine, place, seconds):
        (file,) = tmp_path.rglob("*.json")
        seen.append(json.loads(file.read_text(encoding="utf-8")))
        return []

    proof({"kernels": look})
    assert seen[0]["status"] == 2
    assert set(outcomes(seen[0]).values()) == {NOT_RUN}
    assert seen[0]["stages"][-1]["reason"] == "it was not reached"
    assert seen[0]["machine"]["gpu"] == FACTS


def test_the_first_file_is_written_before_the_machine_is_looked_at(proof, monkeypatch, tmp_path):
    seen = []

    def missing():
        (file,) = tmp_path.rglob("*.json")
        seen.append(json.loads(file.read_text(encoding="utf-8"))["machine"]["gpu"]["reason"])
        return []

    monkeypatch.setattr(gpu_proof, "missing_packages", missing)
    proof()
    assert seen[0] == "not looked for"


def test_a_stage_that_is_stopped_tells_what_it_had_found(proof, tmp_path):
    """Its programs are ended, and it is judged by what they have written."""

    def half(machine, place, seconds):
        text = "import os, time; os.kill(os.getppid(), 15); time.sleep(3600)"
        ended = place.run([place.python("one", "-c", text)], 60)
        assert ended["one"].status is None
        return [Stage("kernels", OUT_OF_TIME, "half of it")]

    status, content, _ = proof({"kernels": half, "figures": never})
    assert status == 2
    assert [one["reason"] for one in content["stages"]] == ["half of it", *["it was stopped"] * 3]


# --- what is written ------------------------------------------------------------------------------
def test_the_file_is_read_as_a_report(proof, capsys):
    _, _, page = proof()
    file = page.with_suffix(".json")
    assert read_report(file) == full_report(gpu=True)
    assert onepass(["bench", "compare", str(file), str(file)]) == 0
    assert "0 faster, 0 slower" in capsys.readouterr().out


def test_without_figures_it_is_no_report(proof):
    *_, page = proof({"figures": wave(Stage("figures", NOT_RUN))})
    with pytest.raises(ValueError, match="is not a result of `onepass bench`"):
        read_report(page.with_suffix(".json"))


def result(*stages, benchmark=None):
    return {
        "date": "2026-11-21",
        "began": "2026-11-21T10:00:00+00:00",
        "seconds": 12.0,
        "status": 1,
        "commit": "abc",
        "machine": asdict(GPU),
        "stages": [asdict(stage) for stage in stages],
        "benchmark": benchmark,
    }


def test_the_page_has_figures_and_rates():
    rows = [
        measurement(
            path, seconds, section="kernels", label="6.4e7", device="cuda:0", bytes=1_792_000_000
        )
        for path, seconds in (("limit", 4.48e-4), ("cupy", 8.96e-4))
    ]
    call = measurement("cupy", 12.34e-6, section="calls", label="1e3")
    made = small_report(*rows, call)
    missed = Promise("GPU adam: copy / fused", (), ratio("", ""), 0.9)
    told = Promise("GPU adam: copy / numba-cuda", (), ratio("", ""), None)
    made.figures = [row(missed, 0.5, {}), row(told, 0.25, {})]
    text = summary(result(benchmark=asdict(made)))
    assert "| GPU adam: copy / fused | 0.50 | 0.9 | **no** |" in text
    assert "| GPU adam: copy / numba-cuda | 0.25 |  |  |" in text
    assert "| adam | 6.4e7 | float32 | 4000 | 2000 |" in text
    assert "| adam 1e3 | 12.3 |" in text


def test_the_page_tells_failures_kernels_and_skips_and_cuts_long_lists():
    failures = {f"test_{k}": "off" for k in range(50)}
    details = {
        "passed": 7,
        "failed": 50,
        "kernels launched": 89,
        "kernels not launched": ["cupy adam float32"],
        "skipped because": {"no | torch": 3},
        "failures": failures,
    }
    runs = {"memcheck cupy": {"errors": 0, "kernels": 45, "seconds": 9.0, "status": 0}}
    text = summary(
        result(Stage("tests", FAILED, "x", 1, details), Stage("s", PASSED, details={"runs": runs}))
    )
    for words in (
        "7 passed, 50 failed",
        "kernels launched: 89",
        "kernels not launched: cupy adam float32",
        "3 skipped: no \\| torch",
        "`test_19`",
        "and 30 more",
        "| memcheck cupy | 0 | 45 | 9 s |",
        VERDICTS[1],
    ):
        assert words in text
    assert "`test_20`" not in text


# --- the command ----------------------------------------------------------------------------------
@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
def test_make_gpu_runs_it_with_the_python_that_is_named():
    command = ["make", "-n", "-C", str(ROOT), "gpu", "PYTHON=some-python", "ARGUMENTS=--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "some-python -m proving.machine.prove --dry-run" in done.stdout


@pytest.mark.parametrize("hidden", [[], ["cupy"]], ids=["", "cupy is missing"])
def test_the_script_runs_by_itself_where_there_is_no_gpu(tmp_path, hidden):
    """As a user starts it, and without packages: what is missing must not be imported before."""
    text = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
sys.modules.update(dict.fromkeys({hidden!r}))
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, *of: None if name in {hidden!r} else find(name, *of)
sys.argv = ["prove.py", "--out", {str(tmp_path)!r}]
runpy.run_module("proving.machine.prove", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert ("missing for" in done.stdout) == bool(hidden)
    assert ("no GPU: " in done.stdout) == (not hidden)
    assert len(list(tmp_path.iterdir())) == 2


ORPHANS = """
import os, sys
from proving.machine import prove
from proving.machine.stage import Place

def hang(machine, place, seconds):
    child = "import subprocess, sys, time; one = subprocess.Popen([sys.executable, '-c', "
    child += "'import time; time.sleep(3600)']); print(one.pid, flush=True); time.sleep(3600)"
    place.run([place.python("one", "-c", child)], 3600)

prove.runs = lambda: dict.fromkeys(prove.WAVES, hang)
prove.look = lambda environment: prove.Machine({"available": True, "name": "H9"}, {}, {}, "")
prove.main(["--out", sys.argv[1]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_outlives_a_proof_that_is_killed(tmp_path):
    """Without a word: neither a program, nor what it started."""
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "TMPDIR": str(tmp_path)}
    proof = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], env=environment)
    try:
        while not any(told := [file.read_text() for file in tmp_path.rglob("one.log")]):
            assert proof.poll() is None
            time.sleep(0.02)
        child = int(told[0])
        assert alive(child)
    finally:
        proof.kill()
        proof.wait()
    while alive(child):  # its guard ends it
        time.sleep(0.02)
    (file,) = tmp_path.glob("*.json")  # that of the start
    assert json.loads(file.read_text(encoding="utf-8"))["machine"]["gpu"]["name"] == "H9"


# --- a rehearsal ----------------------------------------------------------------------------------
CHECKER = """#!/bin/sh
# A compute-sanitizer that finds what was planted. Of what it is given, one program is started, no
# more: it has run among the kernels, and what it wrote there is put where it would write it now.
planted=0; run=no; before=
for word; do
    case "$word" in --plant) planted=1;; memcheck) run=yes;; esac
    if [ "$before" = --json ]; then file=$word; fi
    before=$word
done
while [ "${1#-}" != "$1" ]; do shift 2; done
if [ $run$planted = yes0 ]; then
    "$@" --help >/dev/null && cp "${file%/*}/kernels-cupy-float32.json" "$file" || exit 1
fi
echo "========= ERROR SUMMARY: $planted errors"
"""


@pytest.mark.slow
def test_all_of_it_is_rehearsed_on_the_made_up_driver(tmp_path):
    """Every stage as on a GPU, small; and its figures are nobody's."""
    if why := installing.missing():
        pytest.skip(why)
    checker = tmp_path / "bin" / "compute-sanitizer"
    checker.parent.mkdir()
    checker.write_text(CHECKER)
    checker.chmod(0o755)
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "proving.machine.prove", "--made-up", "--out", out],
        env={
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "PATH": f"{checker.parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
    )
    (file,) = out.glob("*-gpu-made-up-gpu-on-the-cpu-proof.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    stages = {one["name"]: one for one in content["stages"]}
    assert list(stages) == list(PASSING)
    numba = content["machine"]["engines"].pop("numba-cuda")  # the only engine that can't play
    assert content["machine"]["engines"] == {}
    assert stages.pop("kernels") | {"seconds": 0, "details": {}} == {
        "name": "kernels",
        "outcome": NOT_RUN,
        "reason": f"numba-cuda: {numba}",
        "seconds": 0,
        "details": {},
    }
    for name, stage in stages.items():
        assert stage["outcome"] == PASSED, f"{name}: {stage['reason']}\n{done.stdout}"
    assert (content["status"], done.returncode) == (2, 2)
    found = {one["section"] for one in content["worthless"]["measurements"]}
    assert found == set(gpu_figures.SECTIONS)
    # what was found says of itself that it is worth nothing
    assert content["benchmark"] is None
    assert WORTHLESS in content["kind"]
    assert WORTHLESS in file.with_suffix(".md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="is not a result of `onepass bench`"):
        read_report(file)
    streamed = {each.name for each in out.iterdir()} - {file.name, f"{file.stem}.md"}
    assert streamed == {"onepass-rehearsed-figures.json", "onepass-rehearsed-tests.jsonl"}
    assert read_report(out / "onepass-rehearsed-figures.json").hardware == [WORTHLESS]
