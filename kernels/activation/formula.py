"""Each activation and its gradient for one element, written once for every engine.

The Numba engines compile these functions, the CuPy engine translates them to C (c_text.py),
so they hold what that can: assignments, `+ - * /`, `where` with a comparison, `absolute`, `exp`,
`log1p` of numbers in [0, 1], `tanh`, `normal_cdf`, one return of a tuple, and no numeric literal,
which would promote float32. What an argument is, its name tells: z, y = f(z) or dy, a constant, or
an option that users give.

A gradient dz = dy f'(z) is told from y = f(z), which the next layer holds anyway, or else from z:
of functions that take a value twice, and of "softplus", whose threshold y does not tell. It holds
for every z: `far` from 0, where exp has no digits left, f' is told without what is z times that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy import absolute, exp, log1p, tanh, where

from ..normal_cdf import normal_cdf


# --- told from y ----------------------------------------------------------------------------------
def linear(z):
    y = z
    return (y,)


def linear_gradient(dy, y):
    dz = dy
    return (dz,)


def relu(z, zero):
    """max(z, 0), with NaN for NaN, in one comparison."""
    y = where(z < zero, zero, z)
    return (y,)


def relu_gradient(dy, y, zero):
    """0 at z = 0 too."""
    dz = where(y > zero, dy, zero)
    return (dz,)


def leaky_relu(z, slope, zero):
    y = where(z > zero, z, slope * z)
    return (y,)


def leaky_relu_gradient(dy, y, slope, zero):
    """y has the sign of z, since slope > 0."""
    dz = where(y > zero, dy, slope * dy)
    return (dz,)


def sigmoid(z, one):
    """Where exp(-z) is infinite y is 0; above that it keeps all its digits."""
    y = one / (one + exp(-z))
    return (y,)


def sigmoid_gradient(dy, y, one):
    dz = dy * (y * (one - y))
    return (dz,)


def hyperbolic_tangent(z):
    y = tanh(z)
    return (y,)


def tanh_gradient(dy, y, one):
    """1 - y^2 as a product, which keeps its digits where y is near 1."""
    dz = dy * ((one - y) * (one + y))
    return (dz,)


def elu(z, alpha, zero, half, one):
    """exp(z) - 1 = 2 t / (1 - t), t = tanh(z / 2), which loses no digits for z <= 0."""
    t = tanh(half * where(z > zero, zero, z))
    y = where(z > zero, z, alpha * ((t + t) / (one - t)))
    return (y,)


def elu_gradient(dy, y, alpha, zero):
    """alpha exp(z) = y + alpha; y has the sign of z, since alpha > 0."""
    dz = where(y > zero, dy, dy * (y + alpha))
    return (dz,)


# --- told from z ----------------------------------------------------------------------------------
def gelu(z):
    """z Phi(z)."""
    y = z * normal_cdf(z)
    return (y,)


def gelu_gradient(dy, z, zero, half, density, far):
    """Phi(z) + z phi(z); `density` is phi(0)."""
    rest = z * (density * exp(-(half * z * z)))
    dz = dy * (normal_cdf(z) + where(absolute(z) < far, rest, zero))
    return (dz,)


def gelu_tanh(z, one, linear_term, cubic_term):
    """z (1 + tanh(u)) / 2 = z / (1 + exp(-2 u)), which keeps its digits where it is small."""
    v = z * (linear_term + cubic_term * (z * z))
    y = z / (one + exp(-v))
    return (y,)


def gelu_tanh_gradient(dy, z, zero, one, three, linear_term, cubic_term, far):
    """s (1 + z (1 - s) v'), where s = 1 / (1 + exp(-v)); 1 - s as below."""
    v = z * (linear_term + cubic_term * (z * z))
    e = exp(-v)
    s = one / (one + e)
    rest = z * where(v > zero, e * s, one - s) * (linear_term + three * cubic_term * (z * z))
    dz = dy * (s * (one + where(absolute(z) < far, rest, zero)))
    return (dz,)


def silu(z, one):
    """z sigmoid(z)."""
    y = z / (one + exp(-z))
    return (y,)


def silu_gradient(dy, z, zero, one, far):
    """s (1 + z (1 - s)); 1 - s as exp(-z) s where s is near 1 and the difference has few digits."""
    e = exp(-z)
    s = one / (one + e)
    rest = z * where(z > zero, e * s, one - s)
    dz = dy * (s * (one + where(absolute(z) < far, rest, zero)))
    return (dz,)


def softplus(z, beta, threshold, zero, one):
    """max(b, 0) + log(1 + exp(-|b|)), b = beta z, over beta: nothing overflows or cancels."""
    b = beta * z
    y = (where(b > zero, b, zero) + log1p(exp(-absolute(b)))) / beta
    y = where(b > threshold, z, y)
    return (y,)


def softplus_gradient(dy, z, beta, threshold, one):
    b = beta * z
    dz = where(b > threshold, dy, dy / (one + exp(-b)))
    return (dz,)


CONSTANTS = {
    "zero": 0.0,
    "half": 0.5,
    "one": 1.0,
    "three": 3.0,
    "density": 0.3989422804014327,  # 1 / sqrt(2 pi)
    "linear_term": 1.5957691216057308,  # 2 sqrt(2 / pi)
    "cubic_term": 0.07135481627260025,  # 0.044715 of it
    "far": 1e4,  # exp(-far) is 0 in float64, and far^3 is not large in float32
}
OPTIONS = {"slope": 0.01, "alpha": 1.0, "beta": 1.0, "threshold": 20.0}
"""What users may give, with its defaults."""

FORMULAS: dict[str, Callable[..., Any]] = {
    "linear": linear,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": hyperbolic_tangent,
    "elu": elu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "softplus": softplus,
    "linear_gradient": linear_gradient,
    "relu_gradient": relu_gradient,
    "leaky_relu_gradient": leaky_relu_gradient,
    "sigmoid_gradient": sigmoid_gradient,
    "tanh_gradient": tanh_gradient,
    "elu_gradient": elu_gradient,
    "gelu_gradient": gelu_gradient,
    "gelu_tanh_gradient": gelu_tanh_gradient,
    "silu_gradient": silu_gradient,
    "softplus_gradient": softplus_gradient,
}
"""Each kind, and its gradient."""


def arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    """What the arguments of a formula are called."""
    return function.__code__.co_varnames[: function.__code__.co_argcount]


class Kind(NamedTuple):
    """What a kind takes.

    Attributes:
        options: which of OPTIONS, at most two.
        from_x: whether its gradient is told from x and the bias, not from y.
    """

    options: tuple[str, ...]
    from_x: bool


def _kind(name: str) -> Kind:
    used = arguments(FORMULAS[name])
    from_x = "z" in arguments(FORMULAS[f"{name}_gradient"])
    return Kind(tuple(each for each in OPTIONS if each in used), from_x)


KINDS = {name: _kind(name) for name in FORMULAS if f"{name}_gradient" in FORMULAS}


def call(name: str, given: tuple[str, ...], constant: Callable[[str], str] = str) -> str:
    """The arguments of a formula in an engine's text: what it is told of is `given`, an option is
    called by its place, and a constant what `constant` makes of its name."""
    options = KINDS[name.removesuffix("_gradient")].options
    called = dict(zip(options, PLACES, strict=False))
    others = arguments(FORMULAS[name])[len(given) :]
    return ", ".join([*given, *(called[k] if k in called else constant(k) for k in others)])


PLACES = ("first_option", "second_option")
"""What texts call the options of a kind; where it has fewer, a place holds 0."""
