"""A run is kept while nothing has changed that decides what comes out: on a small checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from programs import PYTHONPATH

from proving import account
from proving.host import elementwise as hostcuda
from proving.kept_runs import record, update
from proving.made_up_driver import installing

pytestmark = pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING)

HOST = "tests/proving/host"
SOME, OTHER = f"{HOST}/test_some.py", f"{HOST}/test_other.py"
FILES = {
    "pytest.ini": "[pytest]\nmarkers =\n    gpu: x\n    hostcuda: x\n    peers: x\n    slow: x\n",
    "pyproject.toml": "[tool.pytest.ini_options]\nfilterwarnings = ['error']\n",
    f"{HOST}/kernel.py": "# a comment\nTEXT = 'y = 2 * x'\nfrom options import OPTIONS\n",
    f"{HOST}/options.py": "OPTIONS = ('-O0',)\n",
    f"{HOST}/oracle.py": "def double(x): return x + x\n",
    f"{HOST}/cuda.h": "// C++\n",
    SOME: """
import pytest
from kernel import TEXT
from proving import account
@pytest.mark.parametrize("x", [1, 2, 3])
def test_follows(x):
    from oracle import double
    found = {"x": x}
    exec(TEXT, found)
    assert found["y"] == double(x)
    account.note(account.HOST, "cupy", "adam", "float32")
def test_once(): pass
""",
    OTHER: "def test_other(): pass\n",
}
SKIPS = "import pytest\ndef test_other(): pytest.skip('nothing here')\n"
FAILS = "def test_other(): assert False\n"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A checkout whose runs are kept."""
    root = tmp_path_factory.mktemp("kept")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert update.update(root) == []
    return root


@pytest.fixture
def checkout(kept, tmp_path):
    """A copy of it, to change; what is kept does not depend on its place."""
    return shutil.copytree(
        kept, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache")
    )


def outcomes(root, *options):
    """Test -> outcome; and the lines that end the run."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-c", "pytest.ini", "-p", "runs", *options],
        cwd=root,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
            "PYTHONPATH": PYTHONPATH,
        },
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    told = [line.split() for line in lines if "::" in line and "%" in line]
    return {name.partition("::test_")[2]: outcome for name, outcome, *_ in told}, done.stdout


ALL = dict.fromkeys(["follows[1]", "follows[2]", "follows[3]", "once", "other"], "PASSED")
FIRST = dict.fromkeys(("follows[1]", "once", "other"), "PASSED")


def test_what_is_kept_is_the_whole_run_and_what_it_proved(kept):
    runs = record.load(kept)
    assert record.valid(kept) == runs
    assert [*runs] == [OTHER, SOME]
    assert runs[SOME].tests == 4
    assert runs[SOME].proven == {account.HOST: [["cupy", "adam", "float32"]]}
    sources = {f"{HOST}/{name}" for name in ("kernel.py", "options.py", "oracle.py", "cuda.h")}
    assert sources | {SOME} < runs[SOME].read
    assert not runs[SOME].read & {OTHER, "pytest.ini"}


@pytest.mark.parametrize(("options", "expected"), [(["--prove"], FIRST), (["--prove-all"], ALL)])
def test_only_the_first_case_of_each_test_is_run_again_unless_all_are_asked_for(
    checkout, options, expected
):
    found, told = outcomes(checkout, *options)
    assert found == expected
    assert f"CUDA kernels {account.HOST}: 1 " in told
    assert ("kept, not run again: 2 tests of 2 files" in told) == (expected is FIRST)


def test_without_prove_all_are_run_and_so_are_those_of_a_file_that_are_chosen(checkout):
    assert outcomes(checkout)[0] == ALL
    chosen = [f"{SOME}::test_follows"]
    assert len(outcomes(checkout, "--prove", *chosen)[0]) == 3


CHANGES = {  # a file, what is right there, and what is there instead
    "the kernel's text": (f"{HOST}/kernel.py", "2 * x", "3 * x"),
    "an option": (f"{HOST}/options.py", "-O0", "-O1"),
    "the oracle": (f"{HOST}/oracle.py", "x + x", "x - x"),
    "C++ beside the tests": (f"{HOST}/cuda.h", "C++", "C"),
    "a test": (SOME, "[1, 2, 3]", "[1, 2, 3, 4]"),
    "warnings that are errors": ("pyproject.toml", "error", "default"),
}


def changed(root, file, right, wrong):
    text = (root / file).read_text()
    assert right in text
    (root / file).write_text(text.replace(right, wrong))


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_not_kept(checkout, change):
    changed(checkout, *CHANGES[change])
    assert SOME not in record.valid(checkout)
    (remark, *_) = [each for each in record.remarks(checkout) if SOME in each]
    assert remark.startswith("not kept as now")


def test_nor_is_it_with_a_conftest_that_was_not_there(checkout):
    (checkout / "tests/conftest.py").write_text("")
    assert record.valid(checkout) == {}


def test_a_comment_may_change_and_so_may_what_is_not_read(checkout):
    changed(checkout, f"{HOST}/kernel.py", "a comment", "another")
    (checkout / HOST / "stranger.py").write_text("")
    assert {*record.valid(checkout)} == {SOME, OTHER}


@pytest.mark.parametrize("change", ["the kernel's text", "the oracle"])
def test_a_kernel_or_an_oracle_that_has_changed_is_run_and_judged(checkout, change):
    changed(checkout, *CHANGES[change])
    found, _ = outcomes(checkout, "--prove")
    wrong = {f"follows[{x}]": "FAILED" for x in (1, 2, 3)}
    assert found == ALL | wrong


@pytest.mark.parametrize(
    ("compiler", "known"), [("12.9.1", True), ("13.1", False), ("missing", False)]
)
def test_what_another_compiler_made_is_not_known(checkout, compiler, known, monkeypatch):
    monkeypatch.setattr(record, "_compiler", lambda: "12.2.0")
    runs = record.load(checkout)
    again = {
        test: run._replace(key=record.key_of(checkout, test, run.read))
        for test, run in runs.items()
    }
    record.write(checkout, again)
    monkeypatch.setattr(record, "_compiler", lambda: compiler)
    assert bool(record.valid(checkout)) == known


@pytest.mark.parametrize("package", record.PROOFS.packages)
def test_nor_what_another_package_computed(checkout, package, monkeypatch):
    to_the_minor = record._to_the_minor
    monkeypatch.setattr(
        record, "_to_the_minor", lambda each: "9.9" if each == package else to_the_minor(each)
    )
    assert record.valid(checkout) == {}


@pytest.mark.parametrize(
    ("text", "reason"), [(FAILS, "it does not pass"), (SKIPS, "not all of it has passed: ")]
)
def test_what_fails_or_is_skipped_is_never_kept(checkout, text, reason):
    (checkout / OTHER).write_text(text)
    (refused,) = update.update(checkout)
    assert refused.startswith(f"{OTHER} is not kept: {reason}")
    assert [*record.load(checkout)] == [SOME]


STARTS = """
import subprocess, sys
def test_other(): subprocess.run([sys.executable, "-c", "import options"], check=False)
"""


def test_what_starts_python_is_never_kept(checkout):
    (checkout / OTHER).write_text(STARTS)
    (refused,) = update.update(checkout)
    assert refused.startswith(f"{OTHER} is not kept: it starts python")
    assert [*record.load(checkout)] == [SOME]


STARTS_SEEN = """
import subprocess, sys
from proving.kept_runs import seen
def test_other():
    command = [sys.executable, *seen.command(), "tests/proving/host/program.py"]
    assert subprocess.run(command, check=False).returncode == {status}
"""
PROGRAM = f"import sys\nsys.path.append({HOST!r})\nimport apart\n"


def test_what_starts_python_that_is_seen_is_kept_until_that_changes(checkout):
    (checkout / OTHER).write_text(STARTS_SEEN.format(status=0))
    (checkout / HOST / "program.py").write_text(PROGRAM)
    (checkout / HOST / "apart.py").write_text("x = 1\n")
    assert update.update(checkout) == []
    run = record.load(checkout)[OTHER]
    assert {OTHER, f"{HOST}/program.py", f"{HOST}/apart.py"} <= run.read
    assert [*record.valid(checkout)] == [OTHER, SOME]
    (checkout / HOST / "apart.py").write_text("x = 2\n")
    assert [*record.valid(checkout)] == [SOME]


@pytest.mark.parametrize(
    ("more", "status"),
    [("sys.exit(3)\n", 3), ("import subprocess\nsubprocess.run([sys.executable, '-c', ''])\n", 0)],
)
def test_what_ends_before_it_tells_or_starts_python_unseen_is_not_kept(checkout, more, status):
    (checkout / OTHER).write_text(STARTS_SEEN.format(status=status))
    (checkout / HOST / "program.py").write_text(PROGRAM + more)
    (checkout / HOST / "apart.py").write_text("x = 1\n")
    (refused,) = update.update(checkout)
    assert refused.startswith(f"{OTHER} is not kept: it starts what ended untold")
    assert [*record.load(checkout)] == [SOME]


# --- tests of the GPU on the made-up driver -------------------------------------------------------
GPU = "tests/kernels/test_gpu.py"
ON_A_GPU = """
import pytest
from kernel import TEXT
@pytest.mark.gpu
@pytest.mark.parametrize("x", [1, 2, 3])
def test_gpu(x):
    found = {"x": x}
    exec(TEXT, found)
    assert found["y"] == 2 * x
@pytest.mark.gpu
def test_lacking(): pytest.skip("CuPy has none")
@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["cupy", "numba-cuda"])
def test_left(engine): assert engine == "cupy"
def test_cpu(): pass
"""
RAN = {"gpu[1]": "PASSED", "lacking": "SKIPPED", "left[cupy]": "PASSED"}


@pytest.fixture
def with_a_gpu(checkout):
    """The checkout with tests of the GPU, which are kept."""
    if why := installing.missing():
        pytest.skip(why)
    (checkout / GPU).parent.mkdir(parents=True)
    (checkout / GPU).write_text(ON_A_GPU)
    for name in ("kernel.py", "options.py"):  # beside the tests
        (checkout / GPU).with_name(name).write_text((checkout / HOST / name).read_text())
    (checkout / "pytest.ini").write_text(FILES["pytest.ini"] + "addopts = -p runs\n")
    assert update.update(checkout, kind=record.MADE_UP) == []
    assert {*record.load(checkout, record.MADE_UP)} == {GPU}
    return checkout


def test_on_the_made_up_driver_the_first_cases_are_run_where_all_is_kept(with_a_gpu):
    options = *record.MADE_UP.options, "--kept"
    found, told = outcomes(with_a_gpu, *options, GPU)
    assert found == RAN
    assert "kept, not run again: 2 tests of 1 files" in told
    chosen = outcomes(with_a_gpu, "--made-up-gpu", "-m", "gpu and not slow", "--kept", GPU)[0]
    assert len(chosen) == 5, "some of a file are all run"


def test_there_a_kernel_that_has_changed_is_run_and_judged(with_a_gpu):
    changed(with_a_gpu, "tests/kernels/kernel.py", "2 * x", "3 * x")
    assert record.valid(with_a_gpu, record.MADE_UP) == {}
    found, told = outcomes(with_a_gpu, *record.MADE_UP.options, "--kept", GPU)
    assert found == RAN | {f"gpu[{x}]": "FAILED" for x in (1, 2, 3)}
    assert f"not kept as now, with these versions: {GPU}" in told


def test_what_is_no_more_is_told_and_dropped(checkout):
    (checkout / OTHER).unlink()
    file = checkout / record.PROOFS.file
    told = json.loads(file.read_text())
    told["runs"][SOME]["proven"][account.HOST]["cupy float32"] += " forgotten"
    file.write_text(json.dumps(told))
    remarks = [*record.remarks(checkout)]
    assert [each.partition(";")[0] for each in remarks] == [
        f"kept, but no more there: {OTHER}",
        f"kept, but shipped no more: cupy forgotten float32 of {SOME}",
    ]
    changed(checkout, f"{HOST}/kernel.py", "2 * x", "x * 2")  # with the kernel goes its text
    assert update.update(checkout) == []
    assert [*record.remarks(checkout)] == []
    assert [*record.load(checkout)] == [SOME]


DECIDE = {  # file of tests -> some of what decides how they come out
    "softmax": ("kernels/softmax/gpu/cuda_text.py", "tests/oracles/softmax.py"),
    "batch_norm": ("kernels/batch_norm/gpu/cuda_text.py", "tests/oracles/batch_norm.py"),
    "sanitizers": ("kernels/batch_norm/gpu/plan.py", f"{HOST}/sanitized.cpp"),
    "dropout": ("kernels/inverted_dropout/gpu/cuda_text.py", "tests/oracles/dropout.py"),
    "activation": ("kernels/activation/gpu/cuda_text.py", "tests/oracles/activation.py"),
    "rules": ("kernels/rule_engines/cuda_text.py", "tests/oracles/rules.py"),
}


@pytest.mark.parametrize("name", DECIDE)
def test_the_record_of_this_checkout_has_texts_launches_and_oracles(name):
    """Whether it is of these as they are now, `--prove` tells."""
    test = f"{HOST}/test_{name}.py"
    run = record.load(update.ROOT).get(test)
    if run is None:
        pytest.skip(f"runs.json has no run of {test}; to keep one: {record.UPDATE}")
    doors = "kernels/compiling/gpu/cuda_launch.py"
    for each in (*DECIDE[name], test, f"{HOST}/cuda_on_host.h", doors):
        assert each in run.read
        assert (update.ROOT / each).is_file()


def test_of_the_simulator_it_has_what_its_programs_read():
    test = "tests/proving/simulator/test_simulator.py"
    run = record.load(update.ROOT).get(test)
    if run is None:
        pytest.skip(f"runs.json has no run of {test}; to keep one: {record.UPDATE}")
    kernels = {"rule_engines/numba_cuda.py", "softmax/gpu/numba_cuda.py", "rows/gpu/numba_cuda.py"}
    assert {f"kernels/{each}" for each in kernels} | {"tests/oracles/norms.py"} <= run.read
