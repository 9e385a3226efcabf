"""The stages of `make gpu`, with small programs in the place of pytest, sanitizers, benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from threading import Event

import numpy as np
import onepass
import pytest
from onepass.bench.report.record import read_report
from onepass.kernels.rules import RULES
from programs import PYTHONPATH, TESTS, alive

from proving import account as proof
from proving.layouts import LAYOUTS, blocks
from proving.machine import each_kernel as gpu_kernels
from proving.machine import figures as gpu_figures
from proving.machine import kernels_once as once
from proving.machine import machine as gpu_machine
from proving.machine import sanitizers as gpu_sanitizers
from proving.machine import suite as gpu_suite
from proving.machine.children import Ended, Program, run_all
from proving.machine.machine import Machine
from proving.machine.record import read, shards
from proving.machine.stage import (
    FAILED,
    NOT_RUN,
    OUT_OF_TIME,
    PASSED,
    WORTHLESS,
    Place,
    Stage,
    exit_status,
)

GPU = Machine({"available": True, "name": "A GPU", "remedy": ""}, {}, {}, "")
NO_GPU = Machine({"available": False, "reason": "none here", "remedy": "buy one"}, {}, {}, "")
OK = Ended(0, 1.0, "")
PATIENCE = 250  # seconds; what takes them hangs

pytestmark = pytest.mark.skipif(
    not (TESTS.parent / "Makefile").exists(), reason="a checkout is what `make gpu` proves"
)


@pytest.fixture
def place(tmp_path):
    return Place({"PYTHONPATH": PYTHONPATH}, tmp_path, cores=8)


def python(name, text, **environment):
    return Program(name, [sys.executable, "-c", textwrap.dedent(text)], environment)


# --- children -------------------------------------------------------------------------------------
MEETS = """
    import pathlib, time
    pathlib.Path("here-{k}").touch()
    while len(list(pathlib.Path().glob("here-*"))) < 4:
        time.sleep(0.01)
"""


def test_programs_run_beside_each_other_and_tell_status_and_output(tmp_path):
    programs = [
        python("good", "import os; print(os.environ['WORD'])", WORD="said"),
        python("bad", "import sys; print('wrong', file=sys.stderr); sys.exit(3)"),
        *(python(f"meets {k}", MEETS.format(k=k)) for k in range(4)),
    ]
    ended = run_all(programs, PATIENCE, tmp_path, tmp_path)
    assert [ended[f"meets {k}"].status for k in range(4)] == [0] * 4, "one after the other"
    assert list(ended) == [program.name for program in programs]
    assert (ended["good"].status, ended["good"].output) == (0, "said\n")
    assert (ended["bad"].status, ended["bad"].output) == (3, "wrong\n")


STUBBORN = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    print(child.pid, flush=True)
    {then}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("then", "status"), [("time.sleep(3600)", None), ("", 0)])
def test_neither_a_program_nor_what_it_started_outlives_its_time(
    tmp_path, monkeypatch, then, status
):
    """Its time is over as soon as it has told of its child, if it does not end by itself."""
    told = tmp_path / "one.log"

    class Clock:
        sleep = staticmethod(time.sleep)

        def monotonic(self):
            over = status is None and told.exists() and told.read_text().endswith("\n")
            return time.monotonic() + 2 * PATIENCE * over

    monkeypatch.setattr("proving.machine.children.time", Clock())
    monkeypatch.setattr("proving.machine.children.GRACE", 0.2)
    program = python("one", STUBBORN.format(then=then))
    found = run_all([program], PATIENCE, tmp_path, tmp_path)["one"]
    assert found.status == status
    child = int(found.output)
    while alive(child):  # it was killed, and does not take long
        time.sleep(0.02)


def test_a_program_whose_turn_never_came_ran_out_of_time(tmp_path):
    programs = [python(name, "import time; time.sleep(3600)") for name in "ab"]
    ended = run_all(programs, 0.3, tmp_path, tmp_path, at_once=1)
    assert ended["a"].status is None
    assert ended["b"] == Ended(None, 0.0, "")


def test_an_interrupt_ends_all_and_nothing_more_is_begun(tmp_path):
    stopped = Event()
    text = "import os, time; os.kill(os.getppid(), 2); time.sleep(3600)"
    ended = run_all([python("a", text), python("b", "")], PATIENCE, tmp_path, tmp_path, 1, stopped)
    assert stopped.is_set()
    assert ended["a"].status is None
    assert ended["b"] == Ended(None, 0.0, "")
    assert run_all([python("c", "")], PATIENCE, tmp_path, tmp_path, 1, stopped)["c"].status is None
    with pytest.raises(KeyboardInterrupt):
        run_all([python("a", text)], PATIENCE, tmp_path, tmp_path)


# --- the record of tests --------------------------------------------------------------------------
def test_every_test_is_in_one_shard_and_a_functions_tests_are_together():
    names = [f"f.py::test_{k}[{i}]" for k in range(10) for i in range(k)]
    parts = shards(names, 3)
    assert sorted(name for part in parts for name in part) == sorted(names)
    functions = [{name.partition("[")[0] for name in part} for part in parts]
    assert sum(map(len, functions)) == len(set.union(*functions))
    assert max(map(len, parts)) - min(map(len, parts)) <= 9
    assert shards(names, 1) == [set(names)]


PYTESTS = """
import os, pytest

def test_good(): pass
def test_bad(): assert 1 == 2, "one is not two"
def test_absent(): pytest.skip("not on a Sunday")
@pytest.fixture
def broken(): raise RuntimeError("no fixture")
def test_broken(broken): pass
def test_crash():
    if "CRASH" in os.environ: os.kill(os.getpid(), 9)
"""


def recorded(place, **environment):
    (place.folder / "test_some.py").write_text(PYTESTS)
    (place.folder / "pytest.ini").write_text("[pytest]\n")
    record = place.folder / "record"
    record.unlink(missing_ok=True)
    where = ("-c", place.folder / "pytest.ini", "--rootdir", place.folder, place.folder)
    program = place.python(
        "tests",
        *("-m", "pytest", "-q", "-p", "proving.machine.record", "-p", "no:cacheprovider", *where),
        ONEPASS_RECORD=str(record),
        **environment,
    )
    return place.run([program], PATIENCE)["tests"], list(read(record))


def test_the_plugin_notes_each_test_as_it_ends(place):
    ended, lines = recorded(place)
    assert ended.status == 1
    found = {line["test"].partition("::")[2]: line for line in lines if "test" in line}
    assert {name: line["outcome"] for name, line in found.items()} == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_absent": "skipped",
        "test_broken": "failed",
        "test_crash": "passed",
    }
    assert "one is not two" in found["test_bad"]["why"]
    assert found["test_absent"]["why"] == "not on a Sunday"
    assert "no fixture" in found["test_broken"]["why"]
    (shipped,) = (line["shipped"] for line in lines if "shipped" in line)
    assert [tuple(kernel) for kernel in shipped] == list(proof.shipped())


def test_a_run_that_is_cut_short_keeps_what_had_ended(place):
    ended, lines = recorded(place, CRASH="yes")
    assert ended.status == -9
    assert sum("test" in line for line in lines) == 4


def test_shards_share_the_tests(place):
    names = []
    for k in (1, 2):
        _, lines = recorded(place, ONEPASS_SHARD=f"{k}/2")
        names.append({line["test"] for line in lines if "test" in line})
    assert len(names[0] | names[1]) == 5
    assert not names[0] & names[1]


def test_a_line_that_was_cut_is_left_out(tmp_path):
    (tmp_path / "record").write_text('{"test": "a"}\n{"test": ')
    assert list(read(tmp_path / "record")) == [{"test": "a"}]
    assert list(read(tmp_path / "nowhere")) == []


# --- tests ----------------------------------------------------------------------------------------
def line(name, outcome="passed", why=""):
    return {"test": name, "when": "call", "outcome": outcome, "seconds": 0.1, "why": why}


GOOD, BAD, SKIPPED = line("a"), line("b", "failed", "off"), line("c", "skipped", "no torch")
SHIPPED = [["cupy", "adam", "float32"], ["numba-cuda", "adam", "float32"]]


@pytest.mark.parametrize(
    ("statuses", "lines", "alone", "outcome", "reason"),
    [
        ([0, 0], [GOOD, SKIPPED], [], PASSED, ""),
        ([1], [GOOD, BAD], [], FAILED, "1 failed, first b"),
        ([1], [GOOD, BAD], [line("b")], PASSED, ""),
        ([1], [GOOD, BAD], [line("b"), line("b", "failed")], FAILED, "1 failed, first b"),
        ([None], [GOOD], [], OUT_OF_TIME, "1 tests had ended"),
        ([None], [GOOD, BAD], [], FAILED, "time ran out after 2 tests"),
        ([0, 3], [GOOD], [], FAILED, "pytest ended with status 3: INTERNAL"),
        ([-11], [GOOD], [], FAILED, "pytest ended with status -11"),
        ([1], [GOOD], [], FAILED, "pytest ended with status 1"),
        ([0], [], [], FAILED, "no test was run"),
    ],
)
def test_the_outcome_of_tests(statuses, lines, alone, outcome, reason):
    ended = [Ended(status, 1.0, "INTERNAL") for status in statuses]
    stage = gpu_suite.judge("some", ended, lines, alone)
    assert stage.outcome == outcome
    assert reason in stage.reason
    assert bool(stage.reason) == (outcome != PASSED)
    if alone and outcome == PASSED:
        assert stage.details["passed alone only"] == ["b"]


def test_details_of_tests_are_counts_failures_and_reasons():
    found = gpu_suite.judge("some", [OK], [GOOD, GOOD, SKIPPED, BAD]).details
    assert (found["passed"], found["failed"], found["skipped"]) == (2, 1, 1)
    assert found["failures"] == {"b": "off"}
    assert found["skipped because"] == {"no torch": 1}


def test_on_a_gpu_every_kernel_that_ships_must_have_been_launched():
    lines = [GOOD, {"shipped": SHIPPED}]
    both = [{"launched": SHIPPED[:1]}, {"launched": SHIPPED[1:]}]
    assert gpu_suite.judge_gpu([OK], [*lines, *both], GPU).outcome == PASSED
    machine = Machine(GPU.gpu, {"numba-cuda": "not installed"}, {}, "")
    stage = gpu_suite.judge_gpu([OK], [*lines, both[0]], machine)
    assert stage.outcome == NOT_RUN
    assert stage.reason == "1 of 2 kernels were not launched (numba-cuda: not installed)"
    assert stage.details["kernels not launched"] == ["numba-cuda adam float32"]


class Acted(Place):
    """A place whose programs do as `act` says, given the name of the program and its arguments."""

    def python(self, name, *arguments, **environment):
        text = f"import sys; sys.argv[1:] = {list(map(str, arguments))!r}\n" + self.act(name)
        return Program(name, [sys.executable, "-c", text], {**self.environment, **environment})


class Pytest(Acted):
    """pytest: one test passes, another one does so only by itself; kernels are launched."""

    def act(self, name):
        lines = [{"shipped": SHIPPED}, GOOD]
        if name.startswith("gpu"):
            lines += [{"launched": [SHIPPED[int(name[4]) - 1]]}]
        status = 0
        if name == gpu_suite.WITHOUT:
            lines, status = [GOOD, BAD], 1
        if name == "again":
            lines = [line("b")]
        return textwrap.dedent(f"""
            import json, os
            with open(os.environ["ONEPASS_RECORD"], "a") as file:
                for one in {lines!r}: print(json.dumps(one), file=file)
            print(*sys.argv, os.environ.get("ONEPASS_SHARD"))
            sys.exit({status})
        """)


def test_tests_on_a_gpu_run_in_shards_that_note_into_one_file(tmp_path):
    place = Pytest({}, tmp_path, cores=4)
    (tmp_path / "onepass-tests.jsonl").write_text("of another run")
    (stage,) = gpu_suite.run_gpu_tests(GPU, place, PATIENCE)
    assert stage.outcome == PASSED, stage
    assert stage.details["kernels launched"] == 2
    assert stage.details["passed"] == 2  # of two processes
    asked = {path.stem: path.read_text() for path in tmp_path.glob("*.log")}
    assert set(asked) == {"gpu-1-2", "gpu-2-2"}
    assert "-m gpu 1/2" in asked["gpu-1-2"]


@pytest.mark.parametrize("xdist", [True, False])
def test_other_tests_that_fail_beside_each_other_are_tried_again(tmp_path, monkeypatch, xdist):
    monkeypatch.setattr(gpu_suite, "find_spec", lambda name: name != "xdist" or xdist or None)
    (rest,) = gpu_suite.run_other_tests(NO_GPU, Pytest({}, tmp_path, cores=6), PATIENCE)
    said = (tmp_path / "all-other-tests.log").read_text()
    assert "-m not gpu" in said
    assert ("-n 6" in said) == xdist
    if xdist:  # beside others
        assert rest.outcome == PASSED, rest
        assert rest.details["passed alone only"] == ["b"]
    else:
        assert rest.outcome == FAILED
        assert rest.details["failures"] == {"b": "off"}


@pytest.mark.parametrize("run", [gpu_suite.run_gpu_tests, gpu_suite.run_other_tests])
def test_without_what_the_tests_need_they_are_left_out_with_the_reason(place, monkeypatch, run):
    monkeypatch.setattr(gpu_suite, "find_spec", lambda name: None)
    (stage,) = run(GPU, place, PATIENCE)
    assert (stage.outcome, "hypothesis" in stage.reason) == (NOT_RUN, True)


@pytest.mark.parametrize(
    "run",
    [gpu_suite.run_gpu_tests, gpu_kernels.run_each_kernel, gpu_figures.run_figures],
)
def test_what_needs_a_gpu_is_not_run_without(place, run):
    found = run(NO_GPU, place, PATIENCE)
    (stage,) = found[0] if isinstance(found, tuple) else found
    assert (stage.outcome, stage.reason) == (NOT_RUN, "no GPU: none here")
    assert not list(place.folder.iterdir())


# --- each kernel once -----------------------------------------------------------------------------
class Kernels(Acted):
    """The program that runs each kernel: it tells of one, and of none in float16."""

    def act(self, name):
        dtype = name.split()[1]
        told = {"runs": 3, "launched": [["x", "y", dtype]], "missing": []}
        return textwrap.dedent(f"""
            import json
            if {dtype != "float16"}:
                with open(sys.argv[sys.argv.index("--json") + 1], "w") as file:
                    json.dump({told!r}, file)
            print(*sys.argv[1:])
        """)


def test_each_engine_and_dtype_has_a_process(tmp_path):
    (stage,) = gpu_kernels.run_each_kernel(GPU, Kernels({}, tmp_path), PATIENCE)
    assert stage.outcome == PASSED, stage
    assert stage.details == {"kernels launched": 4, "runs held to the oracle": 12}
    assert (
        "--engine numba-cuda --dtype float64" in (tmp_path / "numba-cuda-float64.log").read_text()
    )
    machine = Machine(GPU.gpu, {"numba-cuda": "not installed"}, {}, "")
    (stage,) = gpu_kernels.run_each_kernel(machine, Kernels({}, tmp_path), PATIENCE)
    assert (stage.outcome, stage.reason) == (NOT_RUN, "numba-cuda: not installed")
    assert stage.details["kernels launched"] == 2
    assert stage.details["left out"] == {"numba-cuda": "not installed"}


@pytest.mark.parametrize(
    ("ended", "outcome", "reason"),
    [
        (Ended(1, 1.0, "not launched: x"), FAILED, "a ended with status 1: not launched: x"),
        (Ended(-11, 1.0, ""), FAILED, "a ended with status -11"),
        (Ended(None, 9.0, "some"), OUT_OF_TIME, "a had not ended"),
    ],
)
def test_the_outcome_of_each_kernel(ended, outcome, reason):
    told = {"runs": 1, "launched": [], "missing": []}
    stage = gpu_kernels.judge({"a": ended, "b": OK}, {"a": told, "b": told}, {})
    assert stage.outcome == outcome
    assert reason in stage.reason
    assert ("output" in stage.details) == (outcome == FAILED)


# --- sanitizers -----------------------------------------------------------------------------------
CLEAN = "========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n"
DIRTY = "========= Invalid __global__ write of size 4 bytes\n========= ERROR SUMMARY: 64 errors\n"
RACE = "========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)\n"
NO_RACE = "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n"
REFUSED = "========= COMPUTE-SANITIZER\n========= Error: Device not supported. Please refer\n"


def test_what_a_tool_found_is_read_off_its_last_word():
    texts = (CLEAN, DIRTY, RACE, NO_RACE, REFUSED, "ERROR SUMMARY", "")
    found = [gpu_sanitizers.errors_in(text) for text in texts]
    assert found == [0, 64, 1, 0, None, None, None]


@pytest.mark.parametrize(
    ("changed", "outcome", "reason"),
    [
        ({}, PASSED, ""),
        ({"memcheck cupy": Ended(86, 1.0, DIRTY)}, FAILED, "memcheck cupy: 64 found"),
        ({"memcheck cupy": Ended(1, 1.0, CLEAN)}, FAILED, "the program ended with status 1"),
        ({"memcheck cupy": Ended(0, 1.0, "")}, FAILED, "ended with status 0 and no summary"),
        ({"memcheck planted": Ended(0, 1.0, CLEAN)}, FAILED, "planted: the mistake was not found"),
        ({"racecheck planted": Ended(0, 1.0, NO_RACE)}, FAILED, "racecheck planted: the mistake"),
        ({"racecheck numba-cuda": Ended(0, 1.0, RACE)}, FAILED, "racecheck numba-cuda: 1 found"),
        ({"memcheck cupy": Ended(None, 9.0, "")}, OUT_OF_TIME, "memcheck cupy had not ended"),
        ({"memcheck cupy": Ended(1, 1.0, REFUSED)}, NOT_RUN, "Device not supported"),
    ],
)
def test_the_outcome_of_the_sanitizers(changed, outcome, reason):
    ended = {
        "memcheck cupy": Ended(0, 1.0, CLEAN),
        "memcheck planted": Ended(1, 1.0, DIRTY),
        "racecheck numba-cuda": Ended(0, 1.0, NO_RACE),
        "racecheck planted": Ended(0, 1.0, RACE),
    } | changed
    launched = {"memcheck cupy": 45, "racecheck numba-cuda": 45}
    stage = gpu_sanitizers.judge(ended, launched)
    assert stage.outcome == outcome
    assert reason in stage.reason
    assert stage.details["runs"]["memcheck cupy"]["kernels"] == 45
    assert ("output" in stage.details) == (outcome == FAILED)


CHECKER = """#!{python}
import json, sys
tool, arguments = sys.argv[2], sys.argv
print("=========", *arguments)
if "--plant" in arguments:
    print(f"========= ERROR SUMMARY: {{0 if tool == '{silent}' else 3}} errors")
else:
    with open(arguments[arguments.index("--json") + 1], "w") as file:
        json.dump({{"launched": [[1], [2]], "missing": []}}, file)
    quiet = "--report-api-errors no" in " ".join(arguments)  # memcheck alone knows the option
    print(f"========= ERROR SUMMARY: {{0 if quiet == (tool == 'memcheck') else 34}} errors")
"""


@pytest.mark.parametrize("silent", ["", "racecheck"])
def test_every_tool_sees_every_engine_and_its_planted_mistake(place, monkeypatch, silent):
    checker = place.folder / "compute-sanitizer"
    checker.write_text(CHECKER.format(python=sys.executable, silent=silent))
    checker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.folder}{os.pathsep}{os.environ['PATH']}")
    (stage,) = gpu_sanitizers.run_sanitizers(GPU, place, PATIENCE)
    runs = stage.details["runs"]
    assert set(runs) == {
        f"{tool} {what}"
        for tool in ("memcheck", "racecheck", "initcheck", "synccheck")
        for what in ("cupy", "numba-cuda", "planted")
    }
    assert {run["kernels"] for name, run in runs.items() if "planted" not in name} == {2}
    assert stage.outcome == (FAILED if silent else PASSED)
    assert stage.reason == ("racecheck planted: the mistake was not found" if silent else "")
    said = (place.folder / "memcheck-cupy.log").read_text()
    for word in ("--tool memcheck", "proving.machine.kernels_once --engine cupy"):
        assert word in said


def test_a_tool_that_is_missing_is_told(place, monkeypatch):
    monkeypatch.setattr(gpu_sanitizers, "tool", lambda name: None)
    (stage,) = gpu_sanitizers.run_sanitizers(GPU, place, PATIENCE)
    assert stage.outcome == NOT_RUN
    assert "compute-sanitizer is not there" in stage.reason


def test_without_a_gpu_the_program_is_rehearsed(tmp_path):
    class Good(Acted):
        def act(self, name):
            return "print('rehearsed')"

    class Bad(Acted):
        def act(self, name):
            return f"sys.exit({5 if name == 'numba' else 0})"

    (stage,) = gpu_sanitizers.run_sanitizers(NO_GPU, Good({}, tmp_path), PATIENCE)
    assert stage.outcome == NOT_RUN
    assert stage.details["rehearsal"] == dict.fromkeys(("array", "numba"), "rehearsed")
    (stage,) = gpu_sanitizers.run_sanitizers(NO_GPU, Bad({}, tmp_path), PATIENCE)
    assert stage.outcome == FAILED
    assert "the rehearsal on numba ended with status 5" in stage.reason


def test_every_tool_has_a_planted_mistake():
    assert tuple(once.PLANTED) == gpu_sanitizers.TOOLS


# --- the program that runs every kernel -----------------------------------------------------------
def test_the_program_knows_every_rule():
    assert set(once.STEPS) == set(RULES)


@pytest.mark.parametrize("engine", ["array", "numba"])
def test_the_program_holds_the_engines_of_the_cpu_to_the_oracle(engine, tmp_path, capsys):
    assert once.run(engine, "cpu", ["float32"], tmp_path / "json") == 0
    runs = len(RULES) * len(once.EXTRAS) * len(once.SIZES) * 3 + 3 * len(once.SHAPES)
    runs += len(RULES) + 2  # of lists, and of norms
    runs += 3 * len(once.SIZES)  # of dropout
    runs += len(once.activation_cases.KINDS) * len(once.ACTIVATION_SHAPES) * 2
    runs += 2 * len(once.SOFTMAX_WIDTHS) - sum(width >= 2000 for width in once.SOFTMAX_WIDTHS)
    rows = {True: len(once.GROUP_SHAPES), False: len(once.ROW_SHAPES)}
    runs += sum(rows[name.startswith("group")] for name in once.norm_passes.PASSES)
    runs += len(once.ENCODED) * sum(len(blocks(layout)) for layout in LAYOUTS.values())
    assert json.loads((tmp_path / "json").read_text())["runs"] == runs
    assert f"{runs} runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("work", "function"),
    [
        (once.steps, "adam_step"),
        (once.norms, "batch_norm_forward"),
        (once.norms, "batch_norm_inference"),
        (once.drops, "dropout"),
        (once.activations, "activation_forward"),
        (once.softmaxes, "softmax_cross_entropy"),
    ],
)
def test_the_program_notices_a_result_that_is_off(monkeypatch, work, function):
    right = getattr(onepass.kernels, function)

    def wrong(*arrays, **options):
        result = right(*arrays, **options)
        changed = arrays[0] if function == "adam_step" else result
        last = function == "softmax_cross_entropy"
        changed = changed[last] if isinstance(changed, tuple) else changed
        changed.reshape(-1)[-1:] += 1e-2
        return result

    assert work in once.WORKS
    monkeypatch.setattr(once, "WORKS", (work,))  # the only one that is to stumble over it
    monkeypatch.setattr(onepass.kernels, function, wrong)
    with pytest.raises(AssertionError, match="eps of float32 off"):
        once.run("array", "cpu", ["float32"], None)


def test_the_program_fails_for_a_kernel_that_was_not_launched(monkeypatch, tmp_path, capsys):
    kernels = [proof.Kernel("array", name, "float32") for name in ("adam", "sgd")]
    monkeypatch.setattr(proof, "shipped", lambda: iter(kernels))
    monkeypatch.setattr(proof, "missing", lambda rung: kernels[:1])
    monkeypatch.setattr(once, "WORKS", (once.drops,))  # whatever is run
    assert once.run("array", "cpu", ["float32"], tmp_path / "json") == 1
    found = json.loads((tmp_path / "json").read_text())
    assert found["missing"] == [["array", "adam", "float32"]]
    assert found["launched"] == [["array", "sgd", "float32"]]
    assert "not launched: array adam float32" in capsys.readouterr().out


def test_shifted_and_strided_arrays_end_where_their_memory_ends():
    where = once.Where("array", "cpu")
    made = dict(once.layouts(where, np.arange(5, dtype="float32")))
    for array in made.values():
        np.testing.assert_array_equal(array, np.arange(5))
    assert made[" shifted"].base.size == 6
    assert made[" strided"].base.size == 9
    assert made[" strided"].strides == (8,)


# --- benchmark ------------------------------------------------------------------------------------
def report(**changed):
    figure = {"figure": "GPU adam", "value": 0.5, "at_least": 0.9, "reached": False}
    told = {"figure": "GPU sgd", "value": 0.5, "at_least": None, "reached": True}
    good = {"measurements": [{"path": "cupy"}], "skipped": [], "figures": [figure, told]}
    return good | changed


@pytest.mark.parametrize(
    ("status", "found", "failures", "outcome", "reason"),
    [
        (0, report(), [], PASSED, ""),
        (0, report(), ["steps adam by tuned: off"], FAILED, "1 went wrong, first steps adam"),
        (1, report(), [], FAILED, "ended with status 1"),
        (0, report(measurements=[{"path": "array"}]), [], NOT_RUN, "no kernel of the library"),
        (
            0,
            report(skipped=[{"section": "growth", "path": "x", "reason": "not begun: 9 s over"}]),
            [],
            OUT_OF_TIME,
            "1 workloads were not begun",
        ),
        (None, None, [], OUT_OF_TIME, "nothing was written"),
        (None, report(), [], OUT_OF_TIME, "it was ended after 1 measurements"),
        (2, None, [], FAILED, "it ended with status 2: boom"),
    ],
)
def test_the_outcome_of_the_benchmark(status, found, failures, outcome, reason):
    stage = gpu_figures.judge("figures", Ended(status, 1.0, "boom"), found, failures)
    assert stage.outcome == outcome
    assert reason in stage.reason
    if outcome == PASSED:  # though a figure is missed
        assert stage.details["figures missed"] == ["GPU adam"]
        assert stage.details["figures judged"] == 1


def test_figures_are_those_of_the_suite_and_written_as_they_come(place, monkeypatch, tmp_path):
    with gpu_machine.uninstalled() as environment:
        place = Place(environment, tmp_path, rehearsal=True)
        on_cpu = gpu_figures._PROGRAM.replace('"cuda"', '"cpu"')
        assert on_cpu != gpu_figures._PROGRAM
        monkeypatch.setattr(gpu_figures, "_PROGRAM", on_cpu)
        monkeypatch.setattr(gpu_figures, "SECTIONS", ("vectorize",))
        (stage,), found = gpu_figures.run_figures(GPU, place, PATIENCE)
    assert stage.outcome == NOT_RUN, stage  # none of its kernels is CuPy's
    assert stage.details["measurements"] == len(found["measurements"]) > 0
    assert found["hardware"] == [WORTHLESS]
    (tmp_path / "proof.json").write_text(json.dumps({"format": 1, "benchmark": found}))
    streamed = place.stream("figures.json")
    assert streamed.name == "onepass-rehearsed-figures.json"
    assert read_report(tmp_path / "proof.json") == read_report(streamed)


@pytest.mark.skipif(
    any(one.available for one in onepass.describe_devices() if one.device != "cpu"),
    reason="there is a GPU",
)
def test_figures_as_they_are_ask_for_a_gpu(place):
    (stage,), found = gpu_figures.run_figures(GPU, place, PATIENCE)
    assert found is None
    assert stage.outcome == FAILED
    assert "which can't be used" in stage.reason


def test_two_reports_become_one():
    first, second = ({**report(), "curves": [], "seconds": k} for k in (1, 2))
    assert gpu_figures.joined(None, first) == gpu_figures.joined(first, None) == first
    whole = gpu_figures.joined(first, second)
    assert (whole["seconds"], len(whole["measurements"]), len(whole["figures"])) == (1, 2, 4)


# --- machine --------------------------------------------------------------------------------------
def test_what_is_missing_is_told_with_the_way_to_bring_it(monkeypatch):
    assert gpu_machine.missing_packages() == []
    absent = ("array_api_compat", "hypothesis", "rich")
    monkeypatch.setattr(gpu_machine, "find_spec", lambda name: None if name in absent else object())
    assert gpu_machine.missing_packages() == ["array-api-compat"]
    assert gpu_machine.optional_packages() == {
        "rich": "what of the library needs it",
        "hypothesis": "all tests",
    }
    told = gpu_machine.how_to_bring(["array-api-compat"])
    for word in (sys.executable, "download --no-deps", "-d .whl array-api-compat", "--wheels"):
        assert word in told


def test_wheels_are_unpacked_where_they_are_asked_for_and_the_last_one_counts(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for version in ("1.2", "1.3"):
        with zipfile.ZipFile(tmp_path / f"a_thing-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("a_thing.py", f"version = {version!r}")
    site = tmp_path / "site"
    assert gpu_machine.brought(tmp_path, ["another"], site) == []
    assert not site.exists()
    assert gpu_machine.brought(tmp_path, ["a-thing", "another"], site) == ["a-thing"]
    assert (site / "a_thing.py").read_text() == "version = '1.3'"
    assert str(site) in sys.path


def test_a_machine_tells_what_nvidia_smi_says(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\nif [ "$1" ]; then echo 999.1; else printf "a\\nb\\n"; fi\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    gpu = '{"available": True, "reason": "", "remedy": ""}'
    found = f'{{"gpu": {gpu}, "engines": {{}}, "versions": {{}}, "cpu": ""}}'
    monkeypatch.setattr(gpu_machine, "_PROBE", f"import json; print(json.dumps({found}))")
    machine = gpu_machine.look({})
    assert machine.nvidia_smi == ["a", "b"]
    assert machine.gpu["driver"] == "999.1"


def test_a_checkout_is_the_package_from_anywhere(tmp_path):
    program = (
        "import onepass; from proving import account; print(onepass.__file__);"
        "list(account.shipped())"
    )
    with gpu_machine.uninstalled() as environment:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        found = Path(done.stdout.strip())
        assert str(found.parent.parent) == environment["PYTHONPATH"].split(os.pathsep)[0]
        assert found.resolve() == gpu_machine.ROOT / "__init__.py"
    assert not found.exists()


def test_a_machine_tells_its_gpu_or_why_there_is_none():
    with gpu_machine.uninstalled() as environment:
        machine = gpu_machine.look(environment)
    assert machine.versions["numpy"] == np.__version__
    usable = [one for one in onepass.describe_devices() if one.device != "cpu"]
    assert machine.gpu["available"] == any(one.available for one in usable)
    if not machine.gpu["available"]:
        assert machine.why_no_gpu == f"no GPU: {usable[0].reason}"
        assert set(machine.engines) == {"cupy", "numba-cuda"}


@pytest.mark.parametrize("program", ["raise SystemExit('the driver crashed')", "print('odd')"])
def test_a_driver_that_crashes_is_a_reason(monkeypatch, program):
    monkeypatch.setattr(gpu_machine, "_PROBE", program)
    machine = gpu_machine.look({})
    assert "asking for it failed" in machine.why_no_gpu
    assert ("the driver crashed" in machine.why_no_gpu) == ("crashed" in program)


def test_a_tool_is_found_on_the_path_and_where_cuda_is(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    file = tmp_path / "bin" / "some-tool-of-cuda"
    file.write_text("")
    file.chmod(0o755)
    assert gpu_machine.tool(file.name) is None
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert gpu_machine.tool(file.name) == str(file)
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.setenv("PATH", str(file.parent))
    assert gpu_machine.tool(file.name) == str(file)


# --- exit status ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([PASSED, PASSED], 0),
        ([PASSED, FAILED, NOT_RUN], 1),
        ([PASSED, NOT_RUN], 2),
        ([OUT_OF_TIME, PASSED], 2),
        ([], 2),
    ],
)
def test_the_exit_status_tells(outcomes, status):
    assert exit_status([Stage("a", outcome) for outcome in outcomes]) == status
