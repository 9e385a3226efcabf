"""Launching kernels that Numba compiled for a GPU, on CuPy's arrays and its current stream."""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import Any

from ...backend import Array, device_of
from . import python_text

THREADS = 256
MAX_BLOCKS = 1 << 16  # beyond that, each thread takes several elements


def configured(kernel: Any, blocks: Any, threads: int, array: Array) -> Any:
    """`kernel`, ready for arrays on the device of `array`, on a grid and CuPy's current stream."""
    import cupy

    stream = cupy.cuda.get_current_stream().ptr
    key = kernel, blocks, threads, stream, device_of(array)
    if (launcher := _launchers.get(key)) is None:
        launcher = _launcher(kernel, blocks, threads, stream)
        if launcher is not kernel:  # as in the simulator, where a kernel remembers one grid only
            if len(_launchers) > 1024:
                _launchers.clear()
            _launchers[key] = launcher
    return launcher


_launchers: dict[Any, Any] = {}


def _launcher(kernel: Any, blocks: Any, threads: int, stream: int) -> Any:
    """Without Numba's warning of a grid too small for a GPU: small arrays are no mistake here.

    Where warnings are errors, one in the middle of a step would leave it half done.
    """
    from numba import cuda

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")
        return kernel[blocks, threads, cuda.external_stream(stream)]


@cache
def device_functions() -> dict[str, Any]:
    """NumPy's functions that a rule may use, as Numba CUDA has them."""
    from numba import cuda

    return {"sqrt": math.sqrt, "maximum": cuda.jit(python_text.maximum, device=True)}
