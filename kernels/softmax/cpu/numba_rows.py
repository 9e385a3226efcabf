"""All rows of a softmax cross-entropy on the CPU, block by block, with weights or without.

They are compiled once for a dtype, and called by their address: from Python through `entered`, and
from a program (../../program/losses/numba_softmax.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from ...compiling.jit import njit, once
from ...compiling.specialize import specialize
from ...crew.atomics import call
from ...simd.denormals import flush_denormals, restore_denormals
from ...simd.half import NUMBERS, store
from ...simd.loops import OPTIONS, c_function, inline
from ...simd.memory import memory, record
from .numba_loops import exponentials, largest, lowered, scaled, shift, shift_in_place, total

BLOCK = 4096  # elements of a block, if a row has no more
REFUSED = -1.0  # what no loss is

WORDS = ("logits", "labels", "weights", "gradient", "rows", "width")
JOB = np.dtype([*((name, "i8") for name in WORDS), ("smoothing", "f8"), ("loss", "f8")])
"""Addresses, that of weights 0 for none; where the loss goes, or REFUSED with nothing written."""

STORED: Any = np.float32  # what arrays hold: uint16 for float16


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


@inline
def _meet(a: int, a_bytes: int, b: int, b_bytes: int) -> bool:
    """Whether two runs of memory share any."""
    return a < b + b_bytes and b < a + a_bytes


@inline
def _fits(job: Any, labels: Any, weights: Any, nbytes: int) -> bool:
    """Whether the gradient's memory is the logits' or nobody's, and all labels and weights mean
    something."""
    same = job.logits == job.gradient
    if not same and _meet(job.logits, nbytes, job.gradient, nbytes):
        return False
    if _meet(job.labels, labels.nbytes, job.gradient, nbytes):
        return False
    for row in range(labels.size):
        if labels[row] < 0 or labels[row] >= job.width:
            return False
    if weights.size == 0:
        return True
    if _meet(job.weights, weights.nbytes, job.gradient, nbytes):
        return False
    right = True
    for row in range(weights.size):
        right &= 0.0 <= weights[row] < np.inf
    return right


def softmax_rows(low: Any, high: Any, place: Any) -> None:
    """Write the gradient and the loss of a job."""
    job = record(place, JOB)
    rows, width, smoothing = job.rows, job.width, job.smoothing
    z = memory(job.logits, rows * width, STORED)
    out = memory(job.gradient, rows * width, STORED)
    labels = memory(job.labels, rows, np.int64)
    weights = memory(job.weights, rows if job.weights != 0 else 0, np.float64)
    job.loss = REFUSED
    if not _fits(job, labels, weights, out.nbytes):
        return
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
            weight = weights[row] if weights.size else 1.0
            aim = np.float64(line[labels[row]])
            if smoothing:
                aim = (1.0 - smoothing) * aim + smoothing * (total(line, zero) / width)
            loss -= weight * aim
        exponentials(work)
        for row in range(top, bottom):
            low, high, k = (row - top) * width, (row - top + 1) * width, labels[row]
            line = work[low:high]
            sums = total(line, zero)
            weight = weights[row] if weights.size else 1.0
            loss += weight * np.log(sums)
            factor = number(weight / (sums * rows))
            share = number(weight * one)
            if not smoothing:
                chosen = line[k] * factor - share
                scaled(line, block[low:high], factor)
            else:
                even = number(smoothing / width * share)
                chosen = line[k] * factor - even - number((1.0 - smoothing) * share)
                lowered(line, block[low:high], factor, even)
            store(block, low + k, chosen)
    restore_denormals(before)
    job.loss = loss / rows


@once
def compiled(char: str) -> int:
    """The address of `softmax_rows` for a dtype."""
    stored = np.uint16 if char == "e" else np.dtype(char).type
    return int(c_function(specialize(softmax_rows, STORED=stored)).address)


def entered(
    logits: Any, labels: Any, weights: int, gradient: Any, smoothing: float, function: int
) -> float:
    """The loss, or REFUSED with nothing written; `weights` is the address of as many, or 0."""
    rows, width = logits.shape
    if rows < 1 or width < 1 or gradient.shape != logits.shape or labels.size != rows:
        return REFUSED
    room = np.empty(1, JOB)
    job = room[0]
    job.logits, job.labels, job.weights = logits.ctypes.data, labels.ctypes.data, weights
    job.gradient, job.rows, job.width, job.smoothing = gradient.ctypes.data, rows, width, smoothing
    call(function, 0, 1, room.ctypes.data)
    return job.loss


@once
def entry(char: str) -> Any:
    """`entered` for a dtype, to be called from Python; it admits only aligned, contiguous arrays
    and a gradient that is writeable."""
    logits = types.Array(NUMBERS[char], 2, "C", readonly=True)
    labels = types.Array(types.int64, 1, "C", readonly=True)
    gradient = types.Array(NUMBERS[char], 2, "C")
    given = (logits, labels, types.int64, gradient, types.float64, types.int64)
    return njit(types.float64(*given), **OPTIONS)(specialize(entered))
