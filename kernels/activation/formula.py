"""Each activation and its gradient for one element, written once for every engine.

The Numba engines compile these functions, the CuPy engine translates them to C (c_text.py),
so they hold what that can: assignments, `+ - * /`, `where` with a comparison, `exp`, `tanh`, one
return of a tuple, and no numeric literal, which would promote float32. Each takes all arguments,
whether it needs them or not. A gradient dz = dy f'(z) is told from y = f(z).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy import exp, tanh, where


def linear(z, slope, zero, one):
    y = z
    return (y,)


def relu(z, slope, zero, one):
    """max(z, 0), with NaN for NaN, in one comparison."""
    y = where(z < zero, zero, z)
    return (y,)


def leaky_relu(z, slope, zero, one):
    y = where(z > zero, z, slope * z)
    return (y,)


def sigmoid(z, slope, zero, one):
    """Where exp(-z) is infinite y is 0; above that it keeps all its digits."""
    y = one / (one + exp(-z))
    return (y,)


def hyperbolic_tangent(z, slope, zero, one):
    y = tanh(z)
    return (y,)


def linear_gradient(dy, y, slope, zero, one):
    dz = dy
    return (dz,)


def relu_gradient(dy, y, slope, zero, one):
    """0 at z = 0 too."""
    dz = where(y > zero, dy, zero)
    return (dz,)


def leaky_relu_gradient(dy, y, slope, zero, one):
    """y has the sign of z, since slope > 0."""
    dz = where(y > zero, dy, slope * dy)
    return (dz,)


def sigmoid_gradient(dy, y, slope, zero, one):
    dz = dy * (y * (one - y))
    return (dz,)


def tanh_gradient(dy, y, slope, zero, one):
    """1 - y^2 as a product, which keeps its digits where y is near 1."""
    dz = dy * ((one - y) * (one + y))
    return (dz,)


KINDS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh")

FORMULAS: dict[str, Callable[..., Any]] = {
    "linear": linear,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": hyperbolic_tangent,
    "linear_gradient": linear_gradient,
    "relu_gradient": relu_gradient,
    "leaky_relu_gradient": leaky_relu_gradient,
    "sigmoid_gradient": sigmoid_gradient,
    "tanh_gradient": tanh_gradient,
}
"""Each kind, and its gradient."""
