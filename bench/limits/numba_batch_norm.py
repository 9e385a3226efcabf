"""The limit in the same run: the loads and stores of batch normalization, next to no arithmetic.

Forward reads x, then reads it again and writes y; backward reads x and dy, then reads both again
and writes dx: 12 and 20 bytes an element in float32. Every loop goes over the whole array, through
the fused engine's own crew of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, types

from ...backend import Array
from ...kernels.compiling.jit import cfunc
from ...kernels.crew.atomics import pointer
from ...kernels.crew.crew import get_crew
from .numba_activation import share_one, share_two

_SIGNATURE = types.void(types.int64, types.int64, types.voidptr)
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}


@cfunc(_SIGNATURE, **_OPTIONS)
def _read_one(low: Any, high: Any, job: Any) -> None:
    words = carray(job, (4,), np.int64)
    x = carray(pointer(words[0] + 4 * low), (high - low,), np.float32)
    total = np.float32(0)
    for i in range(x.size):
        total += x[i]
    carray(pointer(words[3] + 4 * low), (1,), np.float32)[0] = total


@cfunc(_SIGNATURE, **_OPTIONS)
def _read_two(low: Any, high: Any, job: Any) -> None:
    words = carray(job, (4,), np.int64)
    x = carray(pointer(words[0] + 4 * low), (high - low,), np.float32)
    dy = carray(pointer(words[1] + 4 * low), (high - low,), np.float32)
    total = np.float32(0)
    for i in range(x.size):
        total += x[i] + dy[i]
    carray(pointer(words[3] + 4 * low), (1,), np.float32)[0] = total


def mover(what: str, x: Array, dy: Array) -> Callable[[], None]:
    """What `what` has to move, on contiguous float32 arrays, with new memory for the result."""
    sink = np.empty(x.size, x.dtype)
    loops = {
        "forward": (_read_one, share_one),
        "backward": (_read_two, share_two),
        "inference": (share_one,),
    }

    def run(*loops: Any) -> None:
        out = np.empty_like(x)
        arrays = (x, dy, out, sink)
        job = np.array([array.ctypes.data for array in arrays], np.int64)
        for loop in loops:
            get_crew().run(loop.address, x.size, job, arrays)

    def every() -> None:
        for part in what.split("+"):
            run(*loops[part])

    return every
