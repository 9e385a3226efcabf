"""Engine "numba-cuda": activations compiled by Numba for the GPU, on contiguous CuPy arrays."""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any

import numpy as np

from ....backend import Array
from ...compiling import cuda_launch
from ...compiling.cuda_launch import NumbaKernel, blocks_for, made_once
from ...compiling.dtypes import compute_dtype
from ...compiling.python_text import rebound
from ..formula import FORMULAS, KINDS
from . import numba_cuda_kernels
from .cupy_sums import GpuActivation


class NumbaCudaActivation(GpuActivation):
    """A grid-stride loop."""

    name = "numba-cuda"
    strided = False

    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, slope: float, fresh: bool
    ) -> None:
        vectors = () if bias is None else (bias,)
        _launch(kind, slope, y, x, *vectors)

    def differentiate(self, dy: Array, y: Array, dz: Array, kind: str, slope: float) -> None:
        _launch(f"{kind}_gradient", slope, dz, dy, y)


def _launch(name: str, slope: float, result: Array, *arrays: Array) -> None:
    """Launch a formula's kernel on `arrays`, slope and `result`."""
    dtype = result.dtype.name
    biased = name in KINDS and len(arrays) > 1
    kernel(name, dtype, biased)(
        *(result, blocks_for(result.size), cuda_launch.THREADS),
        *(array.reshape(-1) for array in arrays),
        *(np.dtype(compute_dtype(dtype)).type(slope), result.reshape(-1)),
    )


@made_once
def kernel(name: str, dtype: str, biased: bool = False) -> NumbaKernel:
    """The CUDA kernel of a formula."""
    return NumbaKernel(f"activation_{name}", python_kernel(name, dtype, biased))


def python_kernel(name: str, dtype: str, biased: bool = False) -> FunctionType:
    """The kernel as a Python function, for `cuda.jit`, the simulator and the PTX checks."""
    from numba import cuda, float32, float64

    scalars = {"exp": math.exp, "tanh": math.tanh, "where": cuda.jit(_where, device=True)}
    names = {
        "cuda": cuda,
        "COMPUTED": float64 if dtype == "float64" else float32,
        "FORMULA": cuda.jit(rebound(FORMULAS[name], scalars), device=True),
    }
    which = "gradient" if name not in KINDS else "forward_biased" if biased else "forward"
    return rebound(getattr(numba_cuda_kernels, which), names)


def _where(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b
