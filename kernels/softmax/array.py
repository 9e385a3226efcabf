"""Engine "array": softmax cross-entropy in NumPy or CuPy expressions.

It is the readable reference, what a GPU runs, and what the fused engine is measured against.
"""

from __future__ import annotations

from math import nan

import numpy as np

from ...backend import Array, backend_of
from ..engines.base import compute_dtype
from .base import SoftmaxEngine


class ArraySoftmax(SoftmaxEngine):
    """Takes any layout."""

    def run(self, logits: Array, labels: Array, gradient: Array) -> Array:
        xp = backend_of(logits).xp
        rows, width = logits.shape
        one = 1.0
        if not isinstance(labels, np.ndarray):  # not looked at yet: reading them back would stall
            inside = (labels >= 0) & (labels < width)
            labels, one = xp.where(inside, labels, 0), xp.where(inside, 1.0, nan)
        chosen = xp.arange(rows), labels
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            # C order, in which NumPy adds up each row pairwise
            z = logits.astype(compute_dtype(logits.dtype), order="C", copy=False)
            z = z - z.max(axis=1, keepdims=True)
            p = xp.exp(z)
            total = p.sum(axis=1, keepdims=True)
            loss = ((xp.log(total[:, 0]) - z[chosen]) * one).mean(dtype=np.float64)
            p /= total * rows
            p[chosen] -= one / rows
            gradient[...] = p
        return loss
