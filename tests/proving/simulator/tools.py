"""Numba CUDA without a GPU: a script on its simulator, and its PTX for any GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import pytest
from onepass.kernels.compiling import cuda_launch
from onepass.kernels.compiling.load_numba_cuda import load_numba_cuda
from programs import PYTHONPATH

from proving import account as proof


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
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": PYTHONPATH},
    )
    assert done.returncode == 0, done.stderr
    return {case: Outcome(*found) for case, found in json.loads(done.stdout).items()}


def prove(outcome: Outcome) -> None:
    """Nothing was wrong, and the kernels that ran are in the account."""
    assert outcome.wrong == "", outcome.wrong
    for kernel in outcome.launched:
        proof.note(proof.SIMULATOR, "numba-cuda", *kernel)


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


class Lowered:
    """A kernel as LLVM's code, which is one for all GPUs: `compile_ptx` would make it for each.

    Args:
        make: gives the kernel as a Python function.
        types: of its arguments.
        capability: of the GPU that it is lowered for; device functions ask which one is there.
        launch_bounds: as `cuda.jit` is given them.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        types: tuple[Any, ...],
        capability: tuple[int, int] = (9, 0),
        launch_bounds: tuple[int, int] | None = None,
    ) -> None:
        import numba
        from numba.cuda import api, compiler, dispatcher

        gpu = SimpleNamespace(compute_capability=capability)
        cuda_launch.forget()  # functions compiled for another GPU
        try:
            with (
                mock.patch.object(api, "get_current_device", return_value=gpu),
                mock.patch.object(dispatcher, "get_current_device", return_value=gpu),
            ):
                self.library, _ = compiler._compile_pyfunc_with_fixup(
                    make(),
                    numba.void(*types),
                    device=False,
                    abi="numba",
                    cc=capability,
                    launch_bounds=launch_bounds,
                )
        finally:
            cuda_launch.forget()

    def ptx(self, architecture: str) -> str:
        """As NVVM writes it for the GPUs of one compute capability, given without its point."""
        (text,) = self.library.get_asm_strs(cc=(int(architecture[:-1]), int(architecture[-1])))
        return str(text)
