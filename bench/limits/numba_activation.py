"""The limit in the same run: the loads and stores of an activation around a single addition.

Forward reads x and writes y, backward reads dy and y and writes dz: 8 and 12 bytes an element in
float32, into new memory. Large arrays go through the fused engine's own crew of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, types

from ...backend import Array
from ...kernels.compiling.jit import cfunc, njit
from ...kernels.crew.atomics import pointer
from ...kernels.crew.crew import HELPED, get_crew

_JOB = types.void(types.int64, types.int64, types.voidptr)
_RUN = types.float32[::1]
_OPTIONS: dict[str, Any] = {"error_model": "numpy"}


@njit(types.void(_RUN, _RUN, _RUN), **_OPTIONS)
def _move_one(x: Any, _: Any, out: Any) -> None:
    for i in range(out.size):
        out[i] = x[i] + np.float32(1)


@njit(types.void(_RUN, _RUN, _RUN), **_OPTIONS)
def _move_two(x: Any, y: Any, out: Any) -> None:
    for i in range(out.size):
        out[i] = x[i] + y[i]


@cfunc(_JOB, **_OPTIONS)
def share_one(low: Any, high: Any, job: Any) -> None:
    """out = x + 1 from `low` to `high`; the job begins with the addresses of x, y and out."""
    words = carray(job, (3,), np.int64)
    x = carray(pointer(words[0] + 4 * low), (high - low,), np.float32)
    out = carray(pointer(words[2] + 4 * low), (high - low,), np.float32)
    for i in range(out.size):
        out[i] = x[i] + np.float32(1)


@cfunc(_JOB, **_OPTIONS)
def share_two(low: Any, high: Any, job: Any) -> None:
    """out = x + y, likewise."""
    words = carray(job, (3,), np.int64)
    x = carray(pointer(words[0] + 4 * low), (high - low,), np.float32)
    y = carray(pointer(words[1] + 4 * low), (high - low,), np.float32)
    out = carray(pointer(words[2] + 4 * low), (high - low,), np.float32)
    for i in range(out.size):
        out[i] = x[i] + y[i]


def mover(what: str, x: Array, y: Array) -> Callable[[], Array]:
    """What "forward" or "backward" has to move, on contiguous float32 arrays."""
    alone, shared = {"forward": (_move_one, share_one), "backward": (_move_two, share_two)}[what]
    flat, other = x.reshape(-1), y.reshape(-1)
    arrays = 2 if what == "forward" else 3

    def run_alone() -> Array:
        out = np.empty(flat.shape, flat.dtype)
        alone(flat, other, out)
        return out

    def run_shared() -> Array:
        out = np.empty(flat.shape, flat.dtype)
        job = np.array([array.ctypes.data for array in (flat, other, out)], np.int64)
        get_crew().run(shared.address, flat.size, job, (flat, other, out))
        return out

    return run_alone if arrays * x.nbytes < HELPED else run_shared
