"""Adadelta: steps in the unit of the parameters, from averages of gradients and of steps."""

from __future__ import annotations

from typing import Any

from numpy import sqrt

from ...backend import Array
from ...backend.checks.numbers import decay_rate, non_negative
from ..launch import launch
from ..rule import COMMON, Prepared, Rule, prelude_coefficients, remembered


def update(p, g, square_avg, acc_delta, rho, rest, lr, eps):
    square_avg = rho * square_avg + rest * (g * g)
    delta = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * g
    acc_delta = rho * acc_delta + rest * (delta * delta)
    p = p - lr * delta
    return p, square_avg, acc_delta


ADADELTA = Rule(
    "adadelta",
    update,
    ("square_avg", "acc_delta"),
    floor="sqrt(eps)",
    unsigned=("square_avg", "acc_delta"),
)
HYPERPARAMETERS = {
    "lr": non_negative,
    "rho": decay_rate,
    "eps": non_negative,
    **COMMON,
}


def _prepare(lr: float, rho: float, eps: float, *common: Any) -> Prepared:
    return ADADELTA.prepared(*prelude_coefficients(lr, *common), rho, 1.0 - rho, lr, eps)


prepare = remembered(HYPERPARAMETERS, _prepare)


def adadelta_step(
    param: Array,
    grad: Array,
    square_avg: Array,
    acc_delta: Array,
    *,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    seed: int | None = None,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One Adadelta step, in place.

    With g as in `sgd_step`, s = square_avg, a = acc_delta:

        s = rho s + (1 - rho) g^2
        delta = sqrt(a + eps) / sqrt(s + eps) g
        a = rho a + (1 - rho) delta^2
        param = param - lr delta

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        square_avg, acc_delta: states, same shape and dtype, zeros before the first step; written in
            place.
        lr: factor on the steps, >= 0; 1 in the paper.
        rho: weight of the past in the two averages, in [0, 1).
        eps: added to both averages inside the roots, >= 0; the first steps have its root's size.
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

    Conventions: as in PyTorch. Keras has 0.95 as rho, 1e-7 as eps and 1e-3 as lr. Tiny or no eps:
        as in `adam_step`, below 2e-23 (float64: 1e-275); with eps = 0 nothing ever moves.
    Source: Zeiler (2012), "ADADELTA: an adaptive learning rate method", algorithm 1.
    """
    prepared = prepare(lr, rho, eps, weight_decay, decoupled, maximize, grad_scale)
    launch(
        prepared,
        (param, grad, square_avg, acc_delta),
        engine,
        "adadelta_step",
        seed,
        None,
        remainder,
    )
