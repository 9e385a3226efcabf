"""The activations after a norm, and their gradients, which are told from z, not from y = f(z)."""

from __future__ import annotations

from numpy import exp

from ..activation.formula import relu, relu_gradient
from ..normal_cdf import normal_cdf
from ..rows.skeleton import Function, Step
from .formula import passed, plain


def silu(z, one):
    """z sigmoid(z)."""
    y = z / (one + exp(-z))
    return (y,)


def silu_gradient(dy, z, one):
    s = one / (one + exp(-z))
    dz = dy * (s * (one + z * (one - s)))
    return (dz,)


def gelu(z):
    """z Phi(z)."""
    y = z * normal_cdf(z)
    return (y,)


def gelu_gradient(dy, z, half, density):
    """Phi(z) + z phi(z); `density` is phi(0)."""
    dz = dy * (normal_cdf(z) + z * (density * exp(-(half * z * z))))
    return (dz,)


CONSTANTS = {
    "zero": 0.0,
    "one": 1.0,
    "four": 4.0,
    "half": 0.5,
    "density": 0.3989422804014327,
    "slope": 1.0,
}

FORWARD: dict[str | None, Function] = {None: plain, "relu": relu, "silu": silu, "gelu": gelu}

BACKWARD: dict[str | None, tuple[Step, ...]] = {
    None: (Step(passed, ("dz",)),),
    "relu": (Step(relu, ("y",)), Step(relu_gradient, ("dz",))),
    "silu": (Step(silu_gradient, ("dz",)),),
    "gelu": (Step(gelu_gradient, ("dz",)),),
}
"""How dz follows from dy and z."""
