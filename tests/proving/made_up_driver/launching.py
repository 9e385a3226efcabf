"""How `ranks.py` is started on several ranks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from programs import IDLE

TESTS = Path(__file__).resolve().parents[2]
PATIENCE = 280  # seconds for all that ranks do, kernels compiled by g++ included
_BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(_BESIDE) if _BESIDE.exists() else shutil.which("mpiexec")

Ranks: TypeAlias = tuple[int, str | None, Sequence[str]]
"""How many, the GPUs that they see of those that there are, or None for all, and their cases."""


def missing() -> str:
    """Why no ranks can be started here; empty where they can."""
    if MPIEXEC is None or find_spec("mpi4py") is None:
        return "mpi4py or mpiexec is missing: onepass[mpi] has both"
    return ""


def started(folder: Path, *programs: Ranks) -> subprocess.CompletedProcess[str]:
    """What became of ranks: several programs are ranks of one world."""
    command = [str(MPIEXEC)]
    for k, (count, gpus, cases) in enumerate(programs):
        command += [":"] * bool(k) + ["-n", str(count)]
        command += [] if gpus is None else ["-env", "CUDA_VISIBLE_DEVICES", gpus]
        program = ["-W", "error", "-m", "proving.made_up_driver.ranks"]
        command += [sys.executable, *program, str(folder), *cases]
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command, env={**os.environ, **IDLE, "PYTHONPATH": paths}, cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as ranks:  # fmt: skip
        try:
            output, errors = ranks.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            ranks.terminate()  # it ends its ranks, too
            output, errors = ranks.communicate()
    return subprocess.CompletedProcess(command, ranks.returncode, output, errors)


def read(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the ranks have found: case -> what its function gave."""
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return found
