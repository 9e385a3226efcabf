"""Numba CUDA without a GPU: a script on its simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import NamedTuple

import pytest
from onepass.kernels.compiling.gpu.load_numba_cuda import load_numba_cuda
from programs import PYTHONPATH

from proving import account as proof
from proving.kept_runs import seen


class Outcome(NamedTuple):
    """What a case on the simulator came to.

    Attributes:
        wrong: what was, or nothing.
        launched: name and dtype of the kernels that ran, where nothing was wrong.
    """

    wrong: str
    launched: list[tuple[str, str]]


def simulated(script: str) -> dict[str, Outcome]:
    """What a script prints, from a process in which Numba's simulator is on."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed", exc_type=ImportError)
    done = subprocess.run(
        [sys.executable, "-W", "error", *seen.command(), str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": PYTHONPATH},
    )
    assert done.returncode == 0, done.stderr
    return {case: Outcome(*found) for case, found in json.loads(done.stdout).items()}


def prove(outcome: Outcome) -> None:
    """Nothing was wrong, and the kernels that ran are in the account: those that ship, and of those
    in bfloat16, which no account has, a few."""
    assert outcome.wrong == "", outcome.wrong
    for kernel in outcome.launched:
        assert kernel[1] == "bfloat16" or tuple(kernel) in _shipped(), kernel
        proof.note(proof.SIMULATOR, "numba-cuda", *kernel)


@cache
def _shipped() -> set[tuple[str, str]]:
    return {kernel[1:] for kernel in proof.shipped() if kernel.engine == "numba-cuda"}


def needed() -> None:
    """Skip, with the reason, where numba-cuda or its compiler are missing."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed", exc_type=ImportError)
    if reason := _missing():
        pytest.skip(reason)


@cache
def _missing() -> str:
    load_numba_cuda()
    from numba.cuda.cudadrv.nvvm import NVVM

    try:
        NVVM()
    except (ImportError, OSError) as error:  # NvvmSupportError is an ImportError
        return f"NVVM can't be loaded: {error}"
    return ""
