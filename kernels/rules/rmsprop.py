"""RMSprop: each element's step is divided by a running root mean square of its gradient."""

from __future__ import annotations

from typing import Any

from numpy import maximum, sqrt

from ...backend import Array
from ...backend.checks.numbers import decay_rate, flag, non_negative
from ..launch import launch
from ..rule import COMMON, Prepared, Rule, prelude_coefficients, remembered


def update(p, g, square_avg, alpha, rest, lr, inside, outside):
    square_avg = alpha * square_avg + rest * (g * g)
    p = p - lr * g / (sqrt(square_avg + inside) + outside)
    return p, square_avg


def update_with_momentum(
    p, g, square_avg, momentum_buffer, alpha, rest, lr, inside, outside, momentum
):
    square_avg = alpha * square_avg + rest * (g * g)
    momentum_buffer = momentum * momentum_buffer + g / (sqrt(square_avg + inside) + outside)
    p = p - lr * momentum_buffer
    return p, square_avg, momentum_buffer


def update_centered(p, g, square_avg, grad_avg, alpha, rest, lr, inside, outside):
    square_avg = alpha * square_avg + rest * (g * g)
    grad_avg = alpha * grad_avg + rest * g
    variance = maximum(square_avg - grad_avg * grad_avg + inside, inside)
    p = p - lr * g / (sqrt(variance) + outside)
    return p, square_avg, grad_avg


def update_centered_with_momentum(
    p, g, square_avg, momentum_buffer, grad_avg, alpha, rest, lr, inside, outside, momentum
):
    square_avg = alpha * square_avg + rest * (g * g)
    grad_avg = alpha * grad_avg + rest * g
    variance = maximum(square_avg - grad_avg * grad_avg + inside, inside)
    momentum_buffer = momentum * momentum_buffer + g / (sqrt(variance) + outside)
    p = p - lr * momentum_buffer
    return p, square_avg, momentum_buffer, grad_avg


_FLOOR = "outside + sqrt(inside)"  # of which one is 0
_UNSIGNED = ("square_avg",)
_DIFFERENCE = "square_avg", "grad_avg"
RMSPROP = Rule("rmsprop", update, ("square_avg",), floor=_FLOOR, unsigned=_UNSIGNED)
RMSPROP_MOMENTUM = Rule(
    "rmsprop-momentum",
    update_with_momentum,
    ("square_avg", "momentum_buffer"),
    floor=_FLOOR,
    unsigned=_UNSIGNED,
)
RMSPROP_CENTERED = Rule(
    "rmsprop-centered",
    update_centered,
    ("square_avg", "grad_avg"),
    floor=_FLOOR,
    unsigned=_UNSIGNED,
    exact=_DIFFERENCE,
)
RMSPROP_CENTERED_MOMENTUM = Rule(
    "rmsprop-centered-momentum",
    update_centered_with_momentum,
    ("square_avg", "momentum_buffer", "grad_avg"),
    floor=_FLOOR,
    unsigned=_UNSIGNED,
    exact=_DIFFERENCE,
)
_RULES = {  # momentum, centered
    (False, False): RMSPROP,
    (True, False): RMSPROP_MOMENTUM,
    (False, True): RMSPROP_CENTERED,
    (True, True): RMSPROP_CENTERED_MOMENTUM,
}
HYPERPARAMETERS = {
    "lr": non_negative,
    "alpha": decay_rate,
    "eps": non_negative,
    "eps_inside_sqrt": flag,
    "momentum": decay_rate,
    "centered": flag,
    **COMMON,
}


def _prepare(
    lr: float,
    alpha: float,
    eps: float,
    eps_inside_sqrt: bool,
    momentum: float,
    centered: bool,
    *common: Any,
) -> Prepared:
    inside, outside = (eps, 0.0) if eps_inside_sqrt else (0.0, eps)
    own = (alpha, 1.0 - alpha, lr, inside, outside, *([momentum] if momentum else []))
    rule = _RULES[momentum > 0, centered]
    return rule.prepared(*prelude_coefficients(lr, *common), *own)


prepare = remembered(HYPERPARAMETERS, _prepare)


def rmsprop_step(
    param: Array,
    grad: Array,
    square_avg: Array,
    *,
    momentum_buffer: Array | None = None,
    grad_avg: Array | None = None,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    eps_inside_sqrt: bool = False,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    seed: int | None = None,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One RMSprop step, in place.

    With g as in `sgd_step`, s = square_avg:

        s = alpha s + (1 - alpha) g^2
        param = param - lr g / (sqrt(s) + eps)       or lr g / sqrt(s + eps) with eps_inside_sqrt

    centered: max(s - a^2, 0) in place of s under the root, where

        a = alpha a + (1 - alpha) g

    momentum: the quotient q of g and the root goes into a buffer b first:

        b = momentum b + q
        param = param - lr b

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        square_avg: state, same shape and dtype, zeros before the first step; written in place.
        momentum_buffer: b, another one, where momentum is not 0; else it is left out.
        grad_avg: a, another one, where centered; else it is left out.
        lr: learning rate, >= 0.
        alpha: weight of the past in the average, in [0, 1).
        eps: >= 0; outside the root, or inside it.
        eps_inside_sqrt: which of the two.
        momentum: weight of the past steps, in [0, 1).
        centered: divide by the deviation of the gradients instead of their root mean square.
        weight_decay: L2 coefficient, >= 0.
        decoupled: weight decay apart from the gradient, as in `adam_step`.
        maximize: go up the gradient instead of down.
        grad_scale: factor on the gradient, for clipping or loss unscaling without another pass.
        seed: of the noise that rounds states in 16 or 8 bits (`zero_state`); needed for these,
            another at each step, such as its number.
        remainder: that of a bfloat16 `param`, as in `sgd_step`.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.

    Conventions: eps outside the root is PyTorch's, inside is TensorFlow's and Keras's; an eps of
        1e-8 inside acts like 1e-4 outside. Momentum and centered are as in PyTorch; TensorFlow and
        Keras have lr in the buffer. Where gradients stay the same, rounding takes s - a^2 below 0,
        which counts as 0 here and makes NaN in PyTorch. No bias correction. Tiny or no eps: as in
        `adam_step`, below 4e-12 (float64: 3e-138), or inside the root below 2e-23 (1e-275).
        Centered, keep square_avg and grad_avg in float32: of their difference rounding to 16 or 8
        bits leaves noise, and a step of lr g / eps where it is below 0.
    Source: Tieleman and Hinton (2012), Coursera lecture 6.5.
    """
    prepared = prepare(
        lr, alpha, eps, eps_inside_sqrt, momentum, centered,
        weight_decay, decoupled, maximize, grad_scale,
    )  # fmt: skip
    states = _states(prepared[0], momentum_buffer, grad_avg)
    launch(
        prepared, (param, grad, square_avg, *states), engine, "rmsprop_step", seed, None, remainder
    )


def _states(rule: Rule, momentum_buffer: Array | None, grad_avg: Array | None) -> tuple[Array, ...]:
    """Those of the two that the rule has; TypeError or ValueError where other ones are given."""
    wished = rule.state[1:]
    if not wished and momentum_buffer is None and grad_avg is None:
        return ()
    found = {"momentum_buffer": momentum_buffer, "grad_avg": grad_avg}
    options = {"momentum_buffer": "momentum", "grad_avg": "centered"}
    for name, array in found.items():
        if name in wished and array is None:
            raise TypeError(
                f"{name} is missing, which {options[name]} needs; expected an array like param, "
                "zeros before the first step"
            )
        if name not in wished and array is not None:
            raise ValueError(f"{name} is given without {options[name]}; expected None")
    return tuple(found[name] for name in wished)
