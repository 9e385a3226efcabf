"""The limit in the same run: the loads and stores of batch normalization, next to no arithmetic.

Forward reads x, then reads it again and writes y; backward reads x and dy, then reads both again
and writes dx: 12 and 20 bytes an element in float32. With a residual before a ReLU forward reads
that, too, and backward y in its first pass, which writes dz for the second: 16 and 28 bytes. Every
loop goes over the whole array, through the fused engine's own crew of threads.
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


@cfunc(_SIGNATURE, **_OPTIONS)
def _share_three(low: Any, high: Any, job: Any) -> None:
    words = carray(job, (4,), np.int64)
    x = carray(pointer(words[0] + 4 * low), (high - low,), np.float32)
    dy = carray(pointer(words[1] + 4 * low), (high - low,), np.float32)
    dz = carray(pointer(words[2] + 4 * low), (high - low,), np.float32)
    y = carray(pointer(words[3] + 4 * low), (high - low,), np.float32)
    for i in range(dz.size):
        dz[i] = x[i] + dy[i] + y[i]


def mover(what: str, x: Array, dy: Array, residual: Array | None = None) -> Callable[[], None]:
    """What `what` has to move, on contiguous float32 arrays, with new memory for the results."""
    sink = np.empty(x.size, x.dtype)

    def run(loop: Any, *arrays: Array) -> None:
        job = np.array([array.ctypes.data for array in arrays], np.int64)
        get_crew().run(loop.address, x.size, job, arrays)

    def inference(out: Array) -> None:
        if residual is None:
            run(share_one, x, dy, out, sink)
        else:
            run(share_two, x, residual, out, sink)

    def forward(out: Array) -> None:
        run(_read_one, x, dy, out, sink)
        inference(out)

    def backward(out: Array) -> None:
        if residual is None:
            run(_read_two, x, dy, out, sink)
            run(share_two, x, dy, out, sink)
        else:
            dz = np.empty_like(x)
            run(_share_three, x, dy, dz, residual)
            run(share_two, x, dz, out, sink)

    parts = {"forward": forward, "backward": backward, "inference": inference}

    def every() -> None:
        for part in what.split("+"):
            parts[part](np.empty_like(x))

    return every
