"""Engine "numba-cuda": dropout compiled by Numba for the GPU, on CuPy arrays."""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from ...backend import Array
from ..compiling import cuda_launch
from ..compiling.dtypes import compute_dtype
from ..compiling.python_text import rebound
from . import numba_cuda_kernels
from .contiguous import through_contiguous
from .contract import DropoutEngine, Mask
from .philox import philox_round


class NumbaCudaDropout(DropoutEngine):
    """Runs on contiguous arrays, on CuPy's current stream; others go through copies."""

    name = "numba-cuda"

    def run(self, x: Array, y: Array, mask: Mask) -> None:
        through_contiguous(x, y, lambda x, y: _launch(x, y, mask))


def _launch(x: Array, y: Array, mask: Mask) -> None:
    scale = np.dtype(compute_dtype(x.dtype)).type(mask.scale)
    threads = cuda_launch.THREADS
    blocks = min(-(-x.size // (4 * threads)), cuda_launch.MAX_BLOCKS)
    cuda_launch.configured(kernel("dropout", x.dtype.name), blocks, threads, x)(
        *(x.reshape(-1), y.reshape(-1)),
        *(np.uint64(mask.seed), np.uint64(mask.draw), np.uint32(mask.last), scale),
    )


@cache
def kernel(name: str, dtype: str) -> Any:
    """The CUDA kernel for one dtype."""
    from numba import cuda

    return cuda.jit(python_kernel(name, dtype))


def python_kernel(name: str, dtype: str) -> FunctionType:
    """The kernel as a Python function, for `cuda.jit`, the simulator and the PTX checks."""
    from numba import cuda, float32, float64

    names = {
        "cuda": cuda,
        "philox_round": cuda.jit(rebound(philox_round, {}), device=True),
        "COMPUTED": float64 if dtype == "float64" else float32,
    }
    return rebound(getattr(numba_cuda_kernels, name), names)
