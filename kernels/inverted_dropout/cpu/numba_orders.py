"""Dropout on the CPU for an array whose axes lie in memory in another order than they are counted.

Bits belong to elements as they are counted, in C order. So those of a tile are made along the axis
that is counted first, turned in SIMD registers, and applied along the axis that is fastest in
memory: the array is walked once. Like the loops, this is compiled for each dtype.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numba import carray

from ...crew.atomics import pointer
from ...simd.denormals import flush_denormals, restore_denormals
from ...simd.loops import inline
from ...simd.transpose import SIDE, merged_axes, turn
from .numba_loops import CALLS, JOB, drop, generate, mask, mask_in_place

COMPUTED: Any = np.float32  # what is computed in
STORED: Any = np.float32  # what arrays hold: uint16 for float16

LINES, LENGTH = 128, 252  # of a tile: places along memory's axis, and along the counted one
PITCH = 4 * CALLS * 4  # words of a line's bits: LENGTH, and as many before as a call can bring
RUN = 64  # elements from which stretches that lie as they are counted are walked one by one
_HEAD = JOB + 6  # words of a job before three for each outer axis


@lru_cache(maxsize=256)
def plan(
    shape: tuple[int, ...], strides: tuple[int, ...], size: int
) -> tuple[np.ndarray, int] | None:
    """A job without addresses and the mask's numbers, and its tasks; None where axes are short.

    After the words of `numba_loops.shared` it holds, of a tile: places along memory's axis and how
    far apart they are counted, places along the counted axis (0: it is the same one) and how far
    apart they lie, how many tiles it takes, and the number of outer axes.
    """
    counted = [size * prod(shape[k + 1 :]) for k in range(len(shape))]
    joined = [
        (length, number // size, place // size)
        for length, number, place in merged_axes(shape, counted, strides)
    ]
    across = next(axis for axis in joined if axis[1] == 1)
    down = next(axis for axis in joined if axis[2] == 1)
    outer = [axis for axis in reversed(joined) if axis is not across and axis is not down]
    if across is down:
        if down[0] < RUN:
            return None
        tile, tiles = (*down[:2], 0, 0), 1
    else:
        if across[0] < SIDE and down[1] != across[0]:
            return None
        tile, tiles = (*down[:2], across[0], across[2]), -(-across[0] // LENGTH)
    head = (*(0,) * JOB, *tile, tiles, len(outer))
    job = np.array([*head, *(number for axis in outer for number in axis)], np.int64)
    return job, tiles * prod(axis[0] for axis in outer)


@inline
def copy(source: Any, target: Any) -> None:
    for j in range(target.size):
        target[j] = source[j]


def permuted(low: int, high: int, job: Any) -> None:
    """Tasks low to high: one place along the outer axes, and a part of the counted axis each."""
    words, scale = carray(job, (_HEAD,), np.int64), carray(job, (JOB,), np.float64)[JOB - 1]
    lines, apart, length, pitch = words[JOB], words[JOB + 1], words[JOB + 2], words[JOB + 3]
    tiles, axes = words[JOB + 4], words[JOB + 5]
    outer = carray(job, (_HEAD + 3 * axes,), np.int64)
    total = lines * max(1, length)
    for axis in range(_HEAD, outer.size, 3):
        total *= outer[axis]
    x = carray(pointer(words[0]), (total,), STORED)
    y = carray(pointer(words[1]), (total,), STORED)
    in_place = words[0] == words[1]
    seed, draw, limit = np.uint64(words[2]), np.uint64(words[3]), np.uint32(words[4])
    factor, zero = COMPUTED(scale), COMPUTED(0)
    made = np.empty(LINES * PITCH + PITCH, np.uint32)
    room = np.empty(PITCH, np.uint32)
    turned = np.empty(LINES * PITCH + SIDE * LINES, np.uint32)
    before = flush_denormals()
    for task in range(low, high):
        place, tile = task // tiles, task % tiles
        first = start = 0
        for axis in range(_HEAD, outer.size, 3):
            k = place % outer[axis]
            place //= outer[axis]
            first += k * outer[axis + 1]
            start += k * outer[axis + 2]
        if length == 0:
            drop(
                x[start : start + lines], y[start : start + lines], first,
                words[2], words[3], words[4], scale,
            )  # fmt: skip
            flush_denormals()
            continue
        left = tile * LENGTH
        n = min(LENGTH, length - left)
        for top in range(0, lines, LINES):
            m = min(LINES, lines - top)
            number = first + left + top * apart
            row, skip = PITCH, 0
            if apart == n:  # all bits of the tile follow one another
                row, skip = n, number % 4
                calls = (m * n + skip + 4 * CALLS - 1) // (4 * CALLS) * CALLS
                generate(made[: 4 * calls], np.uint64(number // 4), seed, draw)
            else:
                for i in range(m):
                    here = number + i * apart
                    beyond = here % 4
                    calls = (n + beyond + 4 * CALLS - 1) // (4 * CALLS) * CALLS
                    line = made[i * PITCH : (i + 1) * PITCH]
                    if beyond == 0:
                        generate(line[: 4 * calls], np.uint64(here // 4), seed, draw)
                    else:
                        generate(room[: 4 * calls], np.uint64(here // 4), seed, draw)
                        copy(room[beyond : beyond + n], line[:n])
            # A square that sticks out writes into the next line, which is written after it.
            last = (m - 1) // SIDE * SIDE
            for j in range(0, n, SIDE):
                for i in range(last, -1, -SIDE):
                    turn(
                        made.ctypes.data + 4 * (skip + i * row + j), 4 * row,
                        turned.ctypes.data + 4 * (j * m + i), 4 * m, made,
                    )  # fmt: skip
            at = start + left * pitch + top
            runs, width = (1, n * m) if pitch == m else (n, m)
            for j in range(runs):
                bits, k = turned[j * m : j * m + width], at + j * pitch
                if in_place:
                    mask_in_place(y[k : k + width], bits, limit, factor, zero)
                else:
                    mask(x[k : k + width], y[k : k + width], bits, limit, factor, zero)
    restore_denormals(before)
