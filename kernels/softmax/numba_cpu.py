"""Engine "numba": softmax cross-entropy and its gradient in one compiled call, on one core.

Rows go through in blocks that stay in a core's nearest cache: their maxima, the exponentials of a
whole block in one loop (ten classes alone would not fill SIMD registers), then each row's sum, loss
and gradient. A row wider than a block is a block of its own, in the second cache.
"""

from __future__ import annotations

import inspect
from functools import cache
from types import FunctionType
from typing import Any
from zlib import crc32

import numpy as np
from numba import types
from numba.extending import overload

from ...backend import Array
from ..engines import exp, half
from ..engines.compile import njit
from ..engines.denormals import flush_denormals, restore_denormals
from ..engines.half import store
from . import numba_loops
from .base import SoftmaxEngine
from .numba_loops import OPTIONS, exponentials, largest, scaled, shift, shift_in_place, total

BLOCK = 4096  # elements of a block, if a row has no more
REFUSED = -1.0  # what no loss is
_STORED = {"e": types.uint16, "f": types.float32, "d": types.float64}
_LABEL = np.dtype(np.int64)
_FIT: Any = ("C", "A", "E")  # what compiled code takes: contiguous, aligned, no subclass


class NumbaSoftmax(SoftmaxEngine):
    """Takes contiguous arrays as they are; others are copied to contiguous ones first."""

    def missing(self, kind: str) -> str:
        lacking = kind == "e" and half.conversions_missing()
        return "this processor has no float16 conversions" if lacking else ""

    def quick(self, logits: Any, labels: Any, out: Any) -> tuple[Array, Array] | None:
        """(loss, gradient) if the arguments need no care; None if nothing was done."""
        if type(logits) is not np.ndarray or type(labels) is not np.ndarray:
            return None
        kind = logits.dtype.char
        if kind not in "fd" or not logits.dtype.isnative or labels.dtype.kind not in "iu":
            return None
        if labels.dtype is not _LABEL:
            labels = labels.astype(_LABEL)  # 2^63 and more become negative, and are refused
        try:
            gradient = np.empty(logits.shape, logits.dtype) if out is None else out
            loss = compiled(kind)(logits, labels, gradient)
        except TypeError:  # not the types it was compiled for; nothing ran
            return None
        return None if loss < 0.0 else (np.float64(loss), gradient)

    def run(self, logits: Array, labels: Array, gradient: Array) -> Array:
        native = logits.dtype.newbyteorder("=")
        z, k = np.require(logits, native, _FIT), np.require(labels, _LABEL, _FIT)
        fits = gradient.flags.carray and gradient.dtype.isnative
        result = np.asarray(gradient) if fits else np.empty(z.shape, native)
        stored = np.uint16 if native.char == "e" else native
        loss = compiled(native.char)(z.view(stored), k, result.view(stored))
        if not fits:
            gradient[...] = result
        return np.float64(loss)


@cache
def compiled(kind: str) -> Any:
    """The compiled function for one dtype.

    Its one signature admits only aligned, contiguous arrays, a gradient that is writeable, and
    int64 labels; the code itself refuses other shapes, overlap, and labels out of range.
    """
    stored = _STORED[kind]
    kinds = (
        types.Array(stored, 2, "C", readonly=True),
        types.Array(types.int64, 1, "C", readonly=True),
        types.Array(stored, 2, "C"),
    )
    return njit(types.float64(*kinds), **OPTIONS)(_named())


@cache
def _named() -> FunctionType:
    """The function under a name of its sources: kept code is never that of older loops."""
    sources = (exp, half, numba_loops, inspect.getmodule(NumbaSoftmax))
    texts = "".join(inspect.getsource(source) for source in sources if source)
    unique = f"softmax_cross_entropy_{crc32(texts.encode()):08x}"
    code = _softmax_cross_entropy.__code__.replace(co_name=unique, co_qualname=unique)
    return FunctionType(code, globals(), unique)


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


def _softmax_cross_entropy(logits: Any, labels: Any, gradient: Any) -> float:
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
            loss -= line[labels[row]]
        exponentials(work)
        for row in range(top, bottom):
            low, high, k = (row - top) * width, (row - top + 1) * width, labels[row]
            line = work[low:high]
            sums = total(line, zero)
            loss += np.log(sums)
            factor = number(1.0 / (sums * rows))
            chosen = line[k] * factor - one
            scaled(line, block[low:high], factor)
            store(block, low + k, chosen)
    restore_denormals(before)
    return loss / rows
