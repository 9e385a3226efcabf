"""Stochastic gradient descent: the plain step that every other rule refines."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...backend.checks.numbers import non_negative
from ..launch import launch
from ..rule import COMMON, Prepared, Rule, prelude_coefficients, remembered


def update(p, g, lr):
    p = p - lr * g
    return (p,)


SGD = Rule("sgd", update)
HYPERPARAMETERS = {"lr": non_negative, **COMMON}


def _prepare(lr: float, *common: Any) -> Prepared:
    return SGD.prepared(*prelude_coefficients(lr, *common), lr)


prepare = remembered(HYPERPARAMETERS, _prepare)


def sgd_step(
    param: Array,
    grad: Array,
    *,
    lr: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One step of gradient descent, in place.

        g = grad_scale * grad + weight_decay * param      (grad negated first if maximize)
        param = param - lr * g

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        lr: learning rate, >= 0.
        weight_decay: L2 coefficient, >= 0; adds weight_decay * param to the gradient.
        decoupled: weight decay apart from the gradient, as in `adam_step`.
        maximize: go up the gradient instead of down.
        grad_scale: factor on the gradient, for clipping or loss unscaling without another pass.
        remainder: the lower halves of a bfloat16 `param`, int16 of its shape, as `split_param`
            makes them; written in place: together they are a float32.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.

    Source: Robbins and Monro (1951), "A stochastic approximation method".
    """
    launch(
        prepare(lr, weight_decay, decoupled, maximize, grad_scale),
        (param, grad),
        engine,
        "sgd_step",
        None,
        None,
        remainder,
    )
