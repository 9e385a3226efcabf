"""RMSprop: each element's step is divided by a running root mean square of its gradient."""

from __future__ import annotations

from typing import Any

from numpy import sqrt

from ...backend import Array
from ...backend.checks.numbers import decay_rate, flag, non_negative
from ..launch import launch
from ..rule import COMMON, Prepared, Rule, prelude_coefficients, remembered


def update(p, g, square_avg, alpha, rest, lr, eps):
    square_avg = alpha * square_avg + rest * (g * g)
    p = p - lr * g / (sqrt(square_avg) + eps)
    return p, square_avg


def update_eps_inside(p, g, square_avg, alpha, rest, lr, eps):
    square_avg = alpha * square_avg + rest * (g * g)
    p = p - lr * g / sqrt(square_avg + eps)
    return p, square_avg


RMSPROP = Rule("rmsprop", update, ("square_avg",), floor="eps")
RMSPROP_EPS_INSIDE = Rule(
    "rmsprop-eps-inside", update_eps_inside, ("square_avg",), floor="sqrt(eps)"
)
HYPERPARAMETERS = {
    "lr": non_negative,
    "alpha": decay_rate,
    "eps": non_negative,
    "eps_inside_sqrt": flag,
    **COMMON,
}


def _prepare(lr: float, alpha: float, eps: float, eps_inside_sqrt: bool, *common: Any) -> Prepared:
    rule = RMSPROP_EPS_INSIDE if eps_inside_sqrt else RMSPROP
    return rule.prepared(*prelude_coefficients(lr, *common), alpha, 1.0 - alpha, lr, eps)


prepare = remembered(HYPERPARAMETERS, _prepare)


def rmsprop_step(
    param: Array,
    grad: Array,
    square_avg: Array,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    eps_inside_sqrt: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    engine: str = "auto",
) -> None:
    """One RMSprop step, in place.

    With g as in `sgd_step`, s = square_avg:

        s = alpha s + (1 - alpha) g^2
        param = param - lr g / (sqrt(s) + eps)       or lr g / sqrt(s + eps) with eps_inside_sqrt

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        square_avg: state, same shape and dtype, zeros before the first step; written in place.
        lr: learning rate, >= 0.
        alpha: weight of the past in the average, in [0, 1).
        eps: >= 0; outside the root, or inside it.
        eps_inside_sqrt: which of the two.
        weight_decay: L2 coefficient, >= 0.
        decoupled: weight decay apart from the gradient, as in `adam_step`.
        maximize: go up the gradient instead of down.
        grad_scale: factor on the gradient, for clipping or loss unscaling without another pass.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.

    Conventions: eps outside the root is PyTorch's, inside is TensorFlow's; an eps of 1e-8 inside
        acts like 1e-4 outside. No bias correction. Tiny or no eps: as in `adam_step`, below 4e-12
        (float64: 3e-138), or inside the root below 2e-23 (1e-275).
    Source: Tieleman and Hinton (2012), Coursera lecture 6.5.
    """
    prepared = prepare(
        lr, alpha, eps, eps_inside_sqrt, weight_decay, decoupled, maximize, grad_scale
    )
    launch(prepared, (param, grad, square_avg), engine)
