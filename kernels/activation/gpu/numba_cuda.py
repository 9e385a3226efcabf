"""Engine "numba-cuda": activations compiled by Numba for the GPU, on contiguous CuPy arrays."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np

from ....backend import Array
from ...compiling.dtypes import compute_dtype
from ...compiling.gpu import cuda_launch, cuda_normal_cdf
from ...compiling.gpu.cuda_launch import NumbaKernel, blocks_for, made_once
from ...compiling.python_text import rebound
from ..contract import Numbers
from ..formula import KINDS
from ..python_calls import with_places
from . import numba_cuda_kernels
from .cupy_sums import GpuActivation


class NumbaCudaActivation(GpuActivation):
    """A grid-stride loop."""

    name = "numba-cuda"
    strided = False

    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, numbers: Numbers, fresh: bool
    ) -> None:
        _launch(kind, (x,), bias, y, numbers)

    def differentiate(
        self, dy: Array, y: Array, dz: Array, bias: Array | None, kind: str, numbers: Numbers
    ) -> None:
        _launch(f"{kind}_gradient", (dy, y), bias, dz, numbers)


def _launch(
    name: str, read: tuple[Array, ...], bias: Array | None, result: Array, numbers: Numbers
) -> None:
    """Launch a formula's kernel."""
    dtype, vectors = result.dtype.name, () if bias is None else (bias,)
    kernel(name, dtype, bias is not None)(
        *(result, blocks_for(result.size), cuda_launch.THREADS),
        *(array.reshape(-1) for array in (*read, *vectors)),
        *map(np.dtype(compute_dtype(dtype)).type, numbers),
        result.reshape(-1),
    )


@made_once
def kernel(name: str, dtype: str, biased: bool = False) -> NumbaKernel:
    """The CUDA kernel of a formula."""
    return NumbaKernel(f"activation_{name}", python_kernel(name, dtype, biased))


def python_kernel(name: str, dtype: str, biased: bool = False) -> FunctionType:
    """The kernel as a Python function, for `cuda.jit`, the simulator and the PTX checks."""
    from numba import cuda, float32, float64

    computed = np.dtype(compute_dtype(dtype))
    functions = cuda_launch.device_functions()
    functions["normal_cdf"] = cuda_normal_cdf.device_function(computed.name, functions)

    def compiled(formula: Any) -> Any:
        return cuda.jit(rebound(formula, functions), device=True)

    names = {
        "cuda": cuda,
        "COMPUTED": float64 if dtype == "float64" else float32,
        "FORMULA": cuda.jit(with_places(name, computed.type, compiled), device=True),
    }
    which = "forward" if name in KINDS else "gradient"
    return rebound(getattr(numba_cuda_kernels, f"{which}_biased" if biased else which), names)
