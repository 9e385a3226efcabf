"""All rows of a softmax cross-entropy on the CPU, block by block, with weights or without.

`softmax_rows` is compiled for an array of weights and for None, and so it is for how much labels
are smoothed: where they are not, nothing of it is left in the code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from ...simd.denormals import flush_denormals, restore_denormals
from ...simd.half import store
from ...simd.loops import inline
from .numba_loops import exponentials, largest, lowered, scaled, shift, shift_in_place, total

BLOCK = 4096  # elements of a block, if a row has no more
REFUSED = -1.0  # what no loss is


def room(out: Any, elements: int) -> Any:
    """Where a block is worked out if `out` holds float16; `out` itself if not."""
    raise NotImplementedError("compiled code only")


@overload(room)
def _room(out, elements):
    if out.dtype == types.uint16:
        return lambda out, elements: np.empty(elements, np.float32)
    return lambda out, elements: out


def part(work: Any, out: Any, low: int, high: int) -> Any:
    """The part of `work` for elements low to high of `out`."""
    raise NotImplementedError("compiled code only")


@overload(part)
def _part(work, out, low, high):
    if out.dtype == types.uint16:
        return lambda work, out, low, high: work[: high - low]
    return lambda work, out, low, high: work[low:high]


def weight_of(weights: Any, row: int) -> float:
    """The factor on a row's loss."""
    raise NotImplementedError("compiled code only")


@overload(weight_of)
def _weight_of(weights, row):
    if isinstance(weights, types.NoneType):
        return lambda weights, row: 1.0
    return lambda weights, row: weights[row]


def share_of(weights: Any, row: int, one: Any) -> Any:
    """The same times 1/n, which is `one`."""
    raise NotImplementedError("compiled code only")


@overload(share_of)
def _share_of(weights, row, one):
    number = np.float32 if one == types.float32 else np.float64
    if isinstance(weights, types.NoneType):
        return lambda weights, row, one: one
    return lambda weights, row, one: number(weights[row] * one)


def aim_of(line: Any, k: int, smoothing: Any, zero: Any) -> float:
    """z - max z as a row's label weighs it."""
    raise NotImplementedError("compiled code only")


@overload(aim_of)
def _aim_of(line, k, smoothing, zero):
    if isinstance(smoothing, types.NoneType):
        return lambda line, k, smoothing, zero: line[k]

    def smoothed(line, k, smoothing, zero):
        return (1.0 - smoothing) * line[k] + smoothing * (total(line, zero) / line.size)

    return smoothed


@inline
def softmax_rows(logits: Any, labels: Any, weights: Any, gradient: Any, smoothing: Any) -> float:
    """Write the gradient and return the loss, or REFUSED with nothing written."""
    rows, width = logits.shape
    if rows < 1 or width < 1 or gradient.shape != logits.shape or labels.size != rows:
        return REFUSED
    start, end = gradient.ctypes.data, gradient.ctypes.data + gradient.nbytes
    read = logits.ctypes.data
    if start != read and read < end and start < read + logits.nbytes:
        return REFUSED
    if labels.ctypes.data < end and start < labels.ctypes.data + labels.nbytes:
        return REFUSED
    for row in range(rows):
        if labels[row] < 0 or labels[row] >= width:
            return REFUSED
    if weights is not None:
        if weights.size != rows:
            return REFUSED
        if weights.ctypes.data < end and start < weights.ctypes.data + weights.nbytes:
            return REFUSED
        for row in range(rows):
            if not 0.0 <= weights[row] < np.inf:
                return REFUSED

    z, out = logits.reshape(-1), gradient.reshape(-1)
    height = max(1, BLOCK // width)
    space = room(out, min(rows, height) * width)
    number = space.dtype.type
    zero, one = number(0.0), number(1.0 / rows)
    loss = 0.0
    before = flush_denormals()
    for top in range(0, rows, height):
        bottom = min(top + height, rows)
        block = out[top * width : bottom * width]
        work = part(space, out, top * width, bottom * width)
        for row in range(top, bottom):
            given = z[row * width : (row + 1) * width]
            line = work[(row - top) * width : (row - top + 1) * width]
            peak = largest(given)
            if given.ctypes.data == line.ctypes.data:
                shift_in_place(line, peak)
            else:
                shift(given, line, peak)
            loss -= weight_of(weights, row) * aim_of(line, labels[row], smoothing, zero)
        exponentials(work)
        for row in range(top, bottom):
            low, high, k = (row - top) * width, (row - top + 1) * width, labels[row]
            line = work[low:high]
            sums = total(line, zero)
            loss += weight_of(weights, row) * np.log(sums)
            factor = number(weight_of(weights, row) / (sums * rows))
            share = share_of(weights, row, one)
            if smoothing is None:
                chosen = line[k] * factor - share
                scaled(line, block[low:high], factor)
            else:
                even = number(smoothing / width * share)
                chosen = line[k] * factor - even - number((1.0 - smoothing) * share)
                lowered(line, block[low:high], factor, even)
            store(block, low + k, chosen)
    restore_denormals(before)
    return loss / rows


def weighted_rows(logits: Any, labels: Any, weights: Any, gradient: Any) -> float:
    """`softmax_rows`, to be called from Python."""
    return softmax_rows(logits, labels, weights, gradient, None)


def plain_rows(logits: Any, labels: Any, gradient: Any) -> float:
    """The same without weights."""
    return softmax_rows(logits, labels, None, gradient, None)


def weighted_smoothed_rows(
    logits: Any, labels: Any, weights: Any, gradient: Any, smoothing: float
) -> float:
    """Both for smoothed labels."""
    return softmax_rows(logits, labels, weights, gradient, smoothing)


def plain_smoothed_rows(logits: Any, labels: Any, gradient: Any, smoothing: float) -> float:
    return softmax_rows(logits, labels, None, gradient, smoothing)
