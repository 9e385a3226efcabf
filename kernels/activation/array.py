"""Engine "array": activations in NumPy or CuPy expressions.

It is the readable reference and the pure-array path that the fused engines are measured against.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ..compiling.dtypes import compute_dtype
from ..order import write_all
from .contract import ActivationEngine


class ArrayActivation(ActivationEngine):
    """Takes any layout. All results are worked out before the first write."""

    name = "array"

    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, slope: float, fresh: bool
    ) -> None:
        dtype = compute_dtype(x.dtype)
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            z = x.astype(dtype, copy=False)
            if bias is not None:
                z = z + bias.astype(dtype, copy=False)
            write_all([(y, _function(z, kind, slope, backend_of(x).xp))])

    def backward(
        self,
        dy: Array,
        y: Array,
        dz: Array,
        bias_grad: Array | None,
        kind: str,
        slope: float,
        fresh: bool,
    ) -> None:
        dtype = compute_dtype(dy.dtype)
        with np.errstate(all="ignore"):
            wide = dy.astype(dtype, copy=False), y.astype(dtype, copy=False)
            result = _gradient(*wide, kind, slope, backend_of(dy).xp)
            results = [(dz, result)]
            if bias_grad is not None:
                rows = result.reshape(-1, bias_grad.size)
                results.append((bias_grad, rows.sum(axis=0, dtype="float64")))
            write_all(results)


def _function(z: Array, kind: str, slope: float, xp: Any) -> Array:
    """f(z)"""
    if kind == "relu":
        return xp.maximum(z, 0)
    if kind == "leaky_relu":
        return xp.where(z > 0, z, slope * z)
    if kind == "sigmoid":
        e = xp.exp(-xp.abs(z))  # can't overflow
        return xp.where(z >= 0, 1, e) / (1 + e)
    return xp.tanh(z) if kind == "tanh" else z


def _gradient(dy: Array, y: Array, kind: str, slope: float, xp: Any) -> Array:
    """dy f'(z), told from y = f(z)."""
    if kind == "relu":
        return xp.where(y > 0, dy, 0)
    if kind == "leaky_relu":
        return xp.where(y > 0, dy, slope * dy)
    if kind == "sigmoid":
        return dy * (y * (1 - y))
    return dy * ((1 - y) * (1 + y)) if kind == "tanh" else dy
