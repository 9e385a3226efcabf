"""The loops of dropout on the CPU: random bits, and what they keep, each in SIMD.

`drop`, and the two functions that call it, are specialized for each dtype: COMPUTED and STORED.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ...crew.atomics import pointer
from ...simd.denormals import flush_denormals, restore_denormals
from ...simd.half import load, store
from ...simd.loops import inline
from ..philox import HALF, ROUNDS, philox_round

_round = inline(philox_round)

COMPUTED: Any = np.float32  # what is computed in
STORED: Any = np.float32  # what arrays hold: uint16 for float16
JOB = 6  # words of a job: addresses of x and y, seed, draw, last, and the bits of scale
TILE = 1024  # elements whose bits a core's nearest cache holds beside theirs
CALLS = 16  # of the generator, and so many at a time that no SIMD register goes half empty


@inline
def generate(bits: Any, first: Any, seed: Any, draw: Any) -> None:
    """bits = those of the elements from 4 `first` on."""
    for k in range(bits.size // 4):
        call = first + np.uint64(k)
        c0, c1, c2, c3, k0, k1 = call, call >> HALF, draw, draw >> HALF, seed, seed >> HALF
        for _ in range(ROUNDS):
            c0, c1, c2, c3, k0, k1 = _round(c0, c1, c2, c3, k0, k1)
        bits[4 * k] = np.uint32(c0)
        bits[4 * k + 1] = np.uint32(c1)
        bits[4 * k + 2] = np.uint32(c2)
        bits[4 * k + 3] = np.uint32(c3)


@inline
def mask(x: Any, y: Any, bits: Any, last: Any, scale: Any, zero: Any) -> None:
    """y = x scale where bits <= last, else x 0."""
    for i in range(y.size):
        store(y, i, load(x, i) * (scale if bits[i] <= last else zero))


@inline
def mask_in_place(y: Any, bits: Any, last: Any, scale: Any, zero: Any) -> None:
    """The same for x = y: to `mask` they would overlap, and it would go element by element."""
    for i in range(y.size):
        store(y, i, load(y, i) * (scale if bits[i] <= last else zero))


def drop(x: Any, y: Any, first: Any, seed: Any, draw: Any, last: Any, scale: Any) -> None:
    """y of x, whose elements are those from number `first` on."""
    in_place = x.ctypes.data == y.ctypes.data
    skip = first % 4  # words of the first call that belong to elements before
    seed, draw, limit = np.uint64(seed), np.uint64(draw), np.uint32(last)
    factor, zero = COMPUTED(scale), COMPUTED(0)
    room = np.empty(TILE + 4 * CALLS, np.uint32)
    before = flush_denormals()
    for low in range(0, x.size, TILE):
        high = min(low + TILE, x.size)
        calls = (high - low + skip + 4 * CALLS - 1) // (4 * CALLS) * CALLS
        generate(room[: 4 * calls], np.uint64((first + low) // 4), seed, draw)
        bits = room[skip : skip + high - low]
        if in_place:
            mask_in_place(y[low:high], bits, limit, factor, zero)
        else:
            mask(x[low:high], y[low:high], bits, limit, factor, zero)
    restore_denormals(before)


def guarded(x: Any, y: Any, first: Any, seed: Any, draw: Any, last: Any, scale: Any) -> Any:
    """`drop` behind the checks that Python leaves to it: whether it ran."""
    start, end = y.ctypes.data, y.ctypes.data + y.nbytes
    if x.size != y.size:
        return False
    if start != x.ctypes.data and x.ctypes.data < end and start < x.ctypes.data + x.nbytes:
        return False
    drop(x, y, first, seed, draw, last, scale)
    return True


def shared(low: Any, high: Any, job: Any) -> None:
    """`drop` on elements low to high of a job, for the crew."""
    words, scale = carray(job, (JOB,), np.int64), carray(job, (JOB,), np.float64)[JOB - 1]
    x = carray(pointer(words[0]), (high,), STORED)[low:high]
    y = carray(pointer(words[1]), (high,), STORED)[low:high]
    drop(x, y, low, words[2], words[3], words[4], scale)
