"""Programs of several processes, started by mpiexec."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from programs import IDLE, PYTHONPATH, TESTS

MPIEXEC = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")


def why_no_ranks() -> str:
    """Why there can't be several ranks here; "" where there can."""
    if find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    return "" if MPIEXEC else "there is no mpiexec"


class Ended(NamedTuple):
    """How a program of several ranks has ended; its status is None where it had to be ended."""

    status: int | None
    out: str
    errors: str


def start(ranks: int, program: str, *args: Any, **environ: str) -> subprocess.Popen[str]:
    """Start a program of this folder on so many ranks."""
    assert MPIEXEC
    command = [MPIEXEC, "-n", ranks, sys.executable, TESTS / "programs" / f"{program}.py", *args]
    return subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **IDLE, "PYTHONPATH": PYTHONPATH, **environ}, start_new_session=True,
    )  # fmt: skip


def ended(program: subprocess.Popen[str], seconds: float) -> Ended:
    """Wait for its end; what lasts longer is killed."""
    try:
        out, errors = program.communicate(timeout=seconds)
        return Ended(program.returncode, out, errors)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGTERM)  # mpiexec ends its processes
        try:
            out, errors = program.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            out, errors = program.communicate()
        return Ended(None, out, errors)


def launched(ranks: int, program: str, *args: Any, seconds: float, **environ: str) -> Ended:
    """Run a program of this folder on so many ranks."""
    return ended(start(ranks, program, *args, **environ), seconds)
