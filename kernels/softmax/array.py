"""Engine "array": softmax cross-entropy in NumPy or CuPy expressions.

It is the readable reference, and what the other engines are measured against.
"""

from __future__ import annotations

from math import nan

import numpy as np

from ...backend import Array, backend_of
from ..compiling.dtypes import compute_dtype
from .contract import SoftmaxEngine


class ArraySoftmax(SoftmaxEngine):
    """Takes any layout."""

    name = "array"

    def loss(
        self, logits: Array, labels: Array, weights: Array | None, gradient: Array,
        label_smoothing: float,
    ) -> Array:  # fmt: skip
        xp = backend_of(logits).xp
        rows, width = logits.shape
        dtype = compute_dtype(logits.dtype)
        factor = 1.0 if weights is None else weights.astype(dtype, copy=False)
        if not isinstance(labels, np.ndarray):  # not looked at yet: reading them back would stall
            inside = (labels >= 0) & (labels < width)
            labels = xp.where(inside, labels, 0)
            factor = xp.where(inside, factor, nan).astype(dtype, copy=False)
        chosen = xp.arange(rows), labels
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            # C order, in which NumPy adds up each row pairwise
            z = logits.astype(dtype, order="C", copy=False)
            z = z - z.max(axis=1, keepdims=True)
            p = xp.exp(z)
            total = p.sum(axis=1)
            below, share = z[chosen], factor / rows
            if label_smoothing:
                below = (1 - label_smoothing) * below + label_smoothing * z.mean(axis=1)
            loss = ((xp.log(total) - below) * factor).mean(dtype=np.float64)
            p *= (factor / (total * rows))[:, None]
            if label_smoothing:
                even = label_smoothing / width * share
                p -= even if np.ndim(even) == 0 else even[:, None]
                share = (1 - label_smoothing) * share
            p[chosen] -= share
            gradient[...] = p
        return loss
