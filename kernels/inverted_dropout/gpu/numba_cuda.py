"""Engine "numba-cuda": dropout compiled by Numba for the GPU, on CuPy arrays."""

from __future__ import annotations

from types import FunctionType

import numpy as np

from ....backend import Array
from ...compiling.dtypes import compute_dtype
from ...compiling.gpu import cuda_launch
from ...compiling.gpu.cuda_launch import NumbaKernel, blocks_for, made_once
from ...compiling.python_text import rebound
from ..contiguous import through_contiguous
from ..contract import DropoutEngine, Mask
from ..philox import philox_round
from . import numba_cuda_kernels
from .cuda_text import NAME


class NumbaCudaDropout(DropoutEngine):
    """Runs on contiguous arrays, on CuPy's current stream; others go through copies."""

    name = "numba-cuda"

    def run(self, x: Array, y: Array, mask: Mask) -> None:
        through_contiguous(x, y, lambda x, y: _launch(x, y, mask))


def _launch(x: Array, y: Array, mask: Mask) -> None:
    scale = np.dtype(compute_dtype(x.dtype)).type(mask.scale)
    kernel(x.dtype.name)(
        *(x, blocks_for(x.size, each=4), cuda_launch.THREADS),
        *(x.reshape(-1), y.reshape(-1)),
        *(np.uint64(mask.seed), np.uint64(mask.draw), np.uint32(mask.last), scale),
    )


@made_once
def kernel(dtype: str) -> NumbaKernel:
    """The CUDA kernel for one dtype."""
    return NumbaKernel(NAME, python_kernel(dtype))


def python_kernel(dtype: str) -> FunctionType:
    """The kernel as a Python function, for `cuda.jit`, the simulator and the PTX checks."""
    from numba import cuda, float32, float64

    names = {
        "cuda": cuda,
        "philox_round": cuda.jit(rebound(philox_round, {}), device=True),
        "COMPUTED": float64 if dtype == "float64" else float32,
    }
    return rebound(numba_cuda_kernels.dropout, names)
