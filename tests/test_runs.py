"""What a run leaves out: `--rest`, what takes long, and tests for a GPU where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import runs
from programs import PYTHONPATH

SOME = """
import os, pytest
def test_passes(): pass
def test_lacks_a_package():
    if "PACKAGE" not in os.environ: pytest.skip("no package")
@pytest.mark.peers
def test_does_more_beside_peers(): pass
@pytest.mark.hostcuda
def test_takes_long(): pass
@pytest.mark.gpu
def test_needs_a_gpu(): pytest.skip("no GPU")
"""


def outcomes(folder, *options, **environment):
    """Test -> outcome of a run of SOME by the hooks of this one's."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-c", "pytest.ini", "-p", "runs", *options],
        cwd=folder,
        env={**inherited, "PYTHONPATH": PYTHONPATH, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if "::" in line and "%" in line]
    return {name.partition("::test_")[2]: outcome for name, outcome, *_ in lines}


@pytest.mark.slow
def test_the_rest_is_what_has_not_passed_and_what_does_more_beside_peers(tmp_path):
    (tmp_path / "test_some.py").write_text(SOME)
    marks = "\n".join(f"    {name}: x" for name in ("gpu", "hostcuda", "peers", "slow"))
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers =\n{marks}\n")
    quick = outcomes(tmp_path, "-m", "not slow")
    both = {"passes": "PASSED", "does_more_beside_peers": "PASSED"}
    assert {k: v for k, v in quick.items() if k != "needs_a_gpu"} == {
        **both,
        "lacks_a_package": "SKIPPED",
    }
    assert not outcomes(tmp_path, "--collect-only", "-q")  # which forgets nothing
    rest = outcomes(tmp_path, "--rest", PACKAGE="1")
    assert {k: v for k, v in rest.items() if k != "needs_a_gpu"} == {
        "lacks_a_package": "PASSED",
        "does_more_beside_peers": "PASSED",
        "takes_long": "PASSED",
    }
    again = outcomes(tmp_path, "--rest", PACKAGE="1")
    assert set(again) - {"needs_a_gpu"} == {"does_more_beside_peers"}


@pytest.mark.parametrize("marks", [(), ("-m", "slow"), ("-m", "gpu or slow"), ("-m", "not gpu")])
def test_a_made_up_gpu_is_for_tests_that_are_marked_gpu(tmp_path, marks):
    (tmp_path / "test_some.py").write_text("def test_some(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: x\n    slow: x\n")
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-p", "runs", "--made-up-gpu"]
    done = subprocess.run(
        [*command, *marks],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert "expected -m gpu" in done.stderr


def test_processes_begin_with_what_takes_long_and_then_with_what_has_many_tests():
    many = Counter({"tests/few.py": 2, "tests/kernels": 90, **dict.fromkeys(runs._LONG, 1)})
    turns = sorted(many, key=lambda room: runs._turn(room, many))
    assert turns == [*sorted(runs._LONG), "tests/kernels", "tests/few.py"]
    files = "tests/kernels/x/a.py", "tests/b.py"
    rooms = [runs._room(f"{file}::test_some[a::b]") for file in files]
    assert rooms == ["tests/kernels/x", "tests/b.py"]


@pytest.mark.parametrize("file", sorted(runs._LONG))
def test_what_takes_long_is_there(file):
    """Else it was renamed, and comes last."""
    assert (Path(__file__).parents[1] / file).is_file()
