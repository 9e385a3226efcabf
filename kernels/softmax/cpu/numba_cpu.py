"""Engine "numba": softmax cross-entropy and its gradient in one compiled call, on one core.

Rows go through in blocks that stay in a core's nearest cache: their maxima, the exponentials of a
whole block in one loop (ten classes alone would not fill SIMD registers), then each row's sum, loss
and gradient. A row wider than a block is a block of its own, in the second cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend import Array
from ....backend.memory_pool import empty, empty_as
from ...compiling.dtypes import STORED
from ...order import copy, order_of
from ...simd.half import why_no_half
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
            if factors is not None and factors.shape != labels.shape:
                return None
            loss = _run(kind, logits, labels, factors, gradient, label_smoothing)
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
        if weights is not None:
            weights = np.require(weights, _WEIGHT, _FIT)
        given = z.view(stored), np.require(labels, _LABEL, _FIT), weights, result.view(stored)
        loss = _run(native.char, *given, label_smoothing)
        if not fits:
            copy(gradient, result)
        return np.float64(loss)


def _run(
    char: str, logits: Any, labels: Any, weights: Any, gradient: Any, smoothing: float
) -> float:
    """The loss, or REFUSED with nothing written. `weights`: None, or float64, one a row, a run."""
    place = 0 if weights is None else weights.ctypes.data
    function = numba_rows.compiled(char)
    loss: float = numba_rows.entry(char)(logits, labels, place, gradient, smoothing, function)
    return loss
