"""Copying between two memory orders on the CPU: squares of elements turned in SIMD registers.

Where one array runs along one axis in memory and the other along another, NumPy's copy reads or
writes a cache line for each element, and takes 1.5 to 5 times as long as a plain copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ..compiling.jit import cfunc, once
from ..compiling.specialize import specialize
from ..crew.crew import get_crew

SIDE = 16  # elements of a square's row: a cache line of float32
BAND = 64  # rows of a task
LEAST = 1 << 14  # elements below which NumPy's copy is as quick
SHARED = 1 << 18  # elements from which threads share a copy
_HEAD = 8  # words of a job before three for each outer axis
_BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


@intrinsic
def turn(typing: Any, source: Any, rows: Any, target: Any, columns: Any, like: Any) -> Any:
    """Copy SIDE rows, `rows` bytes apart, to columns: rows of the target, `columns` bytes apart.

    source and target are addresses; elements are of the type of the array `like`.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(signature.args[4].dtype)
        vector, index = ir.VectorType(element, SIDE), ir.IntType(32)
        align = context.get_abi_sizeof(element)

        def place(base: Any, step: Any, k: int) -> Any:
            address = builder.add(base, builder.mul(step, ir.Constant(step.type, k)))
            return builder.inttoptr(address, vector.as_pointer())

        lines = [builder.load(place(args[0], args[1], k), align=align) for k in range(SIDE)]
        half = 1
        while half < SIDE:  # exchange what is off the diagonal of squares of 2, 4, ... elements
            low = [j if not j & half else SIDE + j - half for j in range(SIDE)]
            high = [j + half if not j & half else SIDE + j for j in range(SIDE)]
            masks = [ir.Constant(ir.VectorType(index, SIDE), lanes) for lanes in (low, high)]
            for k in (k for k in range(SIDE) if not k & half):
                pair = lines[k], lines[k + half]
                lines[k], lines[k + half] = (builder.shuffle_vector(*pair, m) for m in masks)
            half *= 2
        for k, line in enumerate(lines):
            builder.store(line, place(args[2], args[3], k), align=align)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp, like), generate


@intrinsic
def move(typing: Any, source: Any, target: Any, like: Any) -> Any:
    """Copy one element between two addresses."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.args[2].dtype).as_pointer()
        read, written = (builder.inttoptr(address, kind) for address in args[:2])
        builder.store(builder.load(read), written)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, like), generate


STORED: Any = np.uint32  # bits of an element; replaced for each size


def _turned(low: int, high: int, job: Any) -> None:
    """Bands `low` to `high` of a copy; a band is BAND rows of one place along the outer axes.

    The last square of a row or column overlaps the one before it, whose elements it writes again.
    """
    head = carray(job, (_HEAD,), np.int64)
    rows, columns, row_step, column_step, axes = head[2], head[3], head[4], head[5], head[6]
    words = carray(job, (_HEAD + 3 * axes,), np.int64)
    like = np.empty(0, STORED)
    size, bands = like.itemsize, -(-rows // BAND)
    for task in range(low, high):
        place, band = task // bands, task % bands
        source, target = head[0], head[1]
        for axis in range(_HEAD, words.size, 3):
            k = place % words[axis]
            place //= words[axis]
            source += k * words[axis + 1]
            target += k * words[axis + 2]
        start, end = band * BAND, min((band + 1) * BAND, rows)
        if rows < SIDE:
            for i in range(start, end):
                for j in range(columns):
                    move(
                        source + i * row_step + j * size, target + i * size + j * column_step, like
                    )  # fmt: skip
            continue
        for j in range(0, columns, SIDE):
            column = min(j, columns - SIDE)
            for i in range(start, end, SIDE):
                row = min(i, rows - SIDE)
                turn(
                    source + row * row_step + column * size, row_step,
                    target + column * column_step + row * size, column_step, like,
                )  # fmt: skip


def copy(target: np.ndarray, source: np.ndarray) -> None:
    """target[...] = source, for arrays of one shape that share no memory."""
    plan = _plan_of(target, source) if target.size >= LEAST else None
    if plan is None:
        target[...] = source
        return
    job, tasks = plan[0].copy(), plan[1]
    job[:2] = source.ctypes.data, target.ctypes.data
    if target.size < SHARED:
        get_crew().alone(_compiled(target.itemsize), tasks, job)
    else:
        function, kept = _compiled(target.itemsize), (target, source)
        get_crew().run(function, tasks, job, kept, chunk=1, elements=target.size)


def _plan_of(target: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, int] | None:
    if target.dtype != source.dtype or target.itemsize not in _BITS:
        return None
    if not (target.flags.aligned and source.flags.aligned):
        return None
    return _plan(target.shape, source.strides, target.strides, target.itemsize)


@lru_cache(maxsize=256)
def _plan(
    shape: tuple[int, ...], read: tuple[int, ...], written: tuple[int, ...], size: int
) -> tuple[np.ndarray, int] | None:
    """A job without addresses, and its tasks; None where NumPy copies as well: both arrays run
    along one axis, or the source in short runs."""
    merged = merged_axes(shape, read, written)
    across = next((axis for axis in merged if axis[1] == size), None)
    down = next((axis for axis in merged if axis[2] == size), None)
    if across is None or down is None or across is down:
        return None
    if across[0] < SIDE:
        return None
    outer = [axis for axis in reversed(merged) if axis is not across and axis is not down]
    tasks = prod(axis[0] for axis in outer) * -(-down[0] // BAND)
    head = 0, 0, down[0], across[0], down[1], across[2], len(outer), 0
    return np.array([*head, *(number for axis in outer for number in axis)], np.int64), tasks


def merged_axes(
    shape: Sequence[int], read: Sequence[int], written: Sequence[int]
) -> list[tuple[int, int, int]]:
    """(length, stride, stride) of each axis of two arrays, from the slowest of the second to its
    fastest; neighbours in both are one axis, and those of length 1 are left out."""
    axes = [axis for axis in zip(shape, read, written, strict=True) if axis[0] > 1]
    axes.sort(key=lambda axis: -abs(axis[2]))
    merged = axes[:1]
    for length, source, target in axes[1:]:
        before = merged[-1]
        if before[1:] == (length * source, length * target):
            merged[-1] = before[0] * length, source, target
        else:
            merged.append((length, source, target))
    return merged


@once
def _compiled(size: int) -> int:
    """The address of `_turned` for elements of so many bytes."""
    function = specialize(_turned, STORED=_BITS[size])
    signature = types.void(types.int64, types.int64, types.voidptr)
    return int(cfunc(signature, error_model="numpy")(function).address)
