"""Engine "numba": softmax cross-entropy and its gradient in one compiled call, on one core.

Rows go through in blocks that stay in a core's nearest cache: their maxima, the exponentials of a
whole block in one loop (ten classes alone would not fill SIMD registers), then each row's sum, loss
and gradient. A row wider than a block is a block of its own, in the second cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from ....backend import Array
from ....backend.memory_pool import empty, empty_as
from ...compiling.dtypes import STORED
from ...compiling.jit import njit, once
from ...compiling.specialize import specialize
from ...order import copy, order_of
from ...simd.half import NUMBERS, why_no_half
from ...simd.loops import OPTIONS
from ..contract import SoftmaxEngine
from . import numba_rows

_LABEL, _WEIGHT = np.dtype(np.int64), np.dtype(np.float64)
_FIT: Any = ("C", "A", "E")  # what compiled code takes: contiguous, aligned, no subclass


class NumbaSoftmax(SoftmaxEngine):
    """Takes contiguous arrays as they are; others are copied to contiguous ones first."""

    name = "numba"

    def missing(self, kind: str) -> str:
        return why_no_half(kind)

    def quick(
        self,
        logits: Any,
        labels: Any,
        weights: Any,
        out: Any,
        correct: Any,
        label_smoothing: float,
    ) -> tuple[Array, Array] | None:
        """(loss, gradient) if the arguments need no care; None if nothing was done."""
        if type(labels) is not np.ndarray or correct is not None:
            return None
        kind = logits.dtype.char
        if not logits.flags.c_contiguous:  # told here: Numba takes long to say so
            return None
        if kind not in "fd" or not logits.dtype.isnative or labels.dtype.kind not in "iu":
            return None
        if labels.dtype is not _LABEL:
            labels = labels.astype(_LABEL)  # 2^63 and more become negative, and are refused
        try:
            gradient = out
            if out is None:
                gradient = empty_as(logits)
            factors = None
            if weights is not None:
                if type(weights) is not np.ndarray or weights.dtype.char not in "efd":
                    return None
                factors = weights.astype(_WEIGHT, order="C", copy=False)
            if label_smoothing:
                given = (logits, labels, gradient, label_smoothing)
                if factors is None:
                    loss = smoothed(kind)(*given)
                else:
                    loss = weighted_smoothed(kind)(*given[:2], factors, *given[2:])
            elif factors is None:
                loss = plain(kind)(logits, labels, gradient)
            else:
                loss = weighted(kind)(logits, labels, factors, gradient)
        except TypeError:  # not the types it was compiled for; nothing ran
            return None
        return None if loss < 0.0 else (np.float64(loss), gradient)

    def loss(
        self, logits: Array, labels: Array, weights: Array | None, gradient: Array,
        label_smoothing: float,
    ) -> Array:  # fmt: skip
        native = logits.dtype.newbyteorder("=")
        fits = gradient.flags.carray and gradient.dtype.isnative
        result = np.asarray(gradient) if fits else empty(logits.shape, native)
        z = np.asarray(logits)
        if not z.flags.c_contiguous or order_of(z) is None:
            copy(result, z)  # rather than to memory of its own, which can cost more than the copy
            z = result
        stored = STORED[native.char]
        given: list[Any] = [z.view(stored), np.require(labels, _LABEL, _FIT)]
        if weights is not None:
            given.append(np.require(weights, _WEIGHT, _FIT))
        given.append(result.view(stored))
        if label_smoothing:
            compiled = smoothed if weights is None else weighted_smoothed
            given.append(label_smoothing)
        else:
            compiled = plain if weights is None else weighted
        loss = compiled(native.char)(*given)
        if not fits:
            copy(gradient, result)
        return np.float64(loss)


@once
def plain(kind: str) -> Any:
    """The compiled function (logits, int64 labels, gradient) for one dtype."""
    return _compiled(kind, numba_rows.plain_rows)


@once
def weighted(kind: str) -> Any:
    """The same with float64 weights before the gradient."""
    return _compiled(kind, numba_rows.weighted_rows, weighted=True)


@once
def smoothed(kind: str) -> Any:
    """`plain` with how much labels are smoothed after the gradient."""
    return _compiled(kind, numba_rows.plain_smoothed_rows, smoothed=True)


@once
def weighted_smoothed(kind: str) -> Any:
    """`weighted` with it."""
    return _compiled(kind, numba_rows.weighted_smoothed_rows, weighted=True, smoothed=True)


def _compiled(kind: str, function: Any, *, weighted: bool = False, smoothed: bool = False) -> Any:
    """Any of them.

    Its one signature admits only aligned, contiguous arrays and a gradient that is writeable; the
    code itself refuses other shapes, overlap, and labels or weights out of range.
    """
    stored = NUMBERS[kind]
    kinds = (
        types.Array(stored, 2, "C", readonly=True),
        types.Array(types.int64, 1, "C", readonly=True),
        *([types.Array(types.float64, 1, "C", readonly=True)] if weighted else []),
        types.Array(stored, 2, "C"),
        *([types.float64] if smoothed else []),
    )
    return njit(types.float64(*kinds), **OPTIONS)(specialize(function))
