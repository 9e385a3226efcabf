"""Engine "array": activations in NumPy or CuPy expressions.

It is the readable reference and the pure-array path that the fused engines are measured against.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ..compiling.dtypes import compute_dtype
from ..normal_cdf import normal_cdf
from ..order import write_all
from .contract import ActivationEngine, Numbers
from .formula import CONSTANTS, KINDS


class ArrayActivation(ActivationEngine):
    """Takes any layout. All results are worked out before the first write."""

    name = "array"

    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, numbers: Numbers, fresh: bool
    ) -> None:
        dtype = compute_dtype(x.dtype)
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            z = x.astype(dtype, copy=False)
            if bias is not None:
                z = z + bias.astype(dtype, copy=False)
            write_all([(y, _function(z, kind, numbers, backend_of(x).xp))])

    def backward(
        self,
        dy: Array,
        y: Array,
        dz: Array,
        bias: Array | None,
        bias_grad: Array | None,
        kind: str,
        numbers: Numbers,
        fresh: bool,
    ) -> None:
        dtype = compute_dtype(dy.dtype)
        with np.errstate(all="ignore"):
            wide, told = dy.astype(dtype, copy=False), y.astype(dtype, copy=False)
            if bias is not None:
                told = told + bias.astype(dtype, copy=False)
            of = _gradient_of_z if KINDS[kind].from_x else _gradient
            result = of(wide, told, kind, numbers, backend_of(dy).xp)
            results = [(dz, result)]
            if bias_grad is not None:
                rows = result.reshape(-1, bias_grad.size)
                results.append((bias_grad, rows.sum(axis=0, dtype="float64")))
            write_all(results)


def _function(z: Array, kind: str, numbers: Numbers, xp: Any) -> Array:
    """f(z)"""
    match kind:
        case "relu":
            return xp.maximum(z, 0)
        case "leaky_relu":
            slope, _ = numbers
            return xp.where(z > 0, z, slope * z)
        case "sigmoid":
            return _sigmoid(z, xp)
        case "tanh":
            return xp.tanh(z)
        case "elu":
            alpha, _ = numbers
            return xp.where(z > 0, z, alpha * xp.expm1(xp.minimum(z, 0)))
        case "gelu":
            return z * normal_cdf(z)
        case "gelu_tanh":
            return z * _sigmoid(_odd(z), xp)
        case "silu":
            return z * _sigmoid(z, xp)
        case "softplus":
            beta, threshold = numbers
            b = beta * z
            y = (xp.maximum(b, 0) + xp.log1p(xp.exp(-xp.abs(b)))) / beta
            return xp.where(b > threshold, z, y)
    return z


def _gradient(dy: Array, y: Array, kind: str, numbers: Numbers, xp: Any) -> Array:
    """dy f'(z), told from y = f(z)."""
    match kind:
        case "relu":
            return xp.where(y > 0, dy, 0)
        case "leaky_relu":
            slope, _ = numbers
            return xp.where(y > 0, dy, slope * dy)
        case "sigmoid":
            return dy * (y * (1 - y))
        case "tanh":
            return dy * ((1 - y) * (1 + y))
        case "elu":
            alpha, _ = numbers
            return xp.where(y > 0, dy, dy * (y + alpha))
    return dy


def _gradient_of_z(dy: Array, z: Array, kind: str, numbers: Numbers, xp: Any) -> Array:
    """dy f'(z), told from z; infinite z times what is 0 there counts as 0."""
    near = xp.clip(z, -CONSTANTS["far"], CONSTANTS["far"])
    match kind:
        case "gelu":
            density = xp.exp(-(near * near) / 2) * CONSTANTS["density"]
            return dy * (normal_cdf(z) + near * density)
        case "gelu_tanh":
            u, inner = _odd(near), CONSTANTS["linear_term"]
            slope = inner + 3 * CONSTANTS["cubic_term"] * (near * near)
            return dy * (_sigmoid(u, xp) * (1 + near * _sigmoid(-u, xp) * slope))
        case "silu":
            return dy * (_sigmoid(near, xp) * (1 + near * _sigmoid(-near, xp)))
    beta, threshold = numbers
    b = beta * z
    return xp.where(b > threshold, dy, dy * _sigmoid(b, xp))


def _sigmoid(z: Array, xp: Any) -> Array:
    e = xp.exp(-xp.abs(z))  # can't overflow
    return xp.where(z >= 0, 1, e) / (1 + e)


def _odd(z: Array) -> Array:
    """The polynomial of "gelu_tanh"."""
    return z * (CONSTANTS["linear_term"] + CONSTANTS["cubic_term"] * (z * z))
