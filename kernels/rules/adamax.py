"""Adamax: Adam with the largest gradient of late in place of the root of the average square."""

from __future__ import annotations

from typing import Any

from numpy import absolute, maximum

from ...backend import Array
from ...backend.checks.numbers import decay_rates, non_negative, step_number
from ..launch import launch
from ..rule import COMMON, Prepared, Rule, prelude_coefficients, remembered


def update(p, g, m, u, beta1, rest1, beta2, lr, eps):
    m = beta1 * m + rest1 * g
    u = maximum(beta2 * u, absolute(g) + eps)
    p = p - lr * m / u
    return p, m, u


ADAMAX = Rule("adamax", update, ("m", "u"), floor="eps", unsigned=("u",))
HYPERPARAMETERS = {
    "lr": non_negative,
    "betas": decay_rates,
    "eps": non_negative,
    **COMMON,
}


def _of_every_step(
    lr: float, betas: tuple[float, float], eps: float, *common: Any
) -> tuple[Any, ...]:
    """The rule with its first coefficients, then beta1, lr, eps."""
    beta1, beta2 = betas
    prelude = prelude_coefficients(lr, *common)
    return *ADAMAX.prepared(*prelude, beta1, 1.0 - beta1, beta2), beta1, lr, eps


_constants = remembered(HYPERPARAMETERS, _of_every_step)


def prepare(step: int, *hyper: Any) -> Prepared:
    rule, first, beta1, lr, eps = _constants(*hyper)
    t = step_number("step", step)
    return rule, (*first, lr / (1.0 - beta1**t), eps)


def adamax_step(
    param: Array,
    grad: Array,
    m: Array,
    u: Array,
    *,
    step: int,
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    seed: int | None = None,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One Adamax step, in place.

    With g as in `sgd_step`, (b1, b2) = betas, t = step:

        m = b1 m + (1 - b1) g              mhat = m / (1 - b1^t)
        u = max(b2 u, |g| + eps)
        param = param - lr mhat / u

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        m, u: states, same shape and dtype, zeros before the first step; written in place.
        step: t, the number of this update, counting from 1.
        lr: learning rate, >= 0.
        betas: weight of the past in the average, and how slowly u falls, each in [0, 1).
        eps: added to the gradient's magnitude, >= 0.
        weight_decay: L2 coefficient, >= 0.
        decoupled: weight decay apart from the gradient, as in `adam_step`.
        maximize: go up the gradient instead of down.
        grad_scale: factor on the gradient, for clipping or loss unscaling without another pass.
        seed: of the noise that rounds states in 16 or 8 bits (`zero_state`); 0 by default.
        remainder: that of a bfloat16 `param`, as in `sgd_step`.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.

    Conventions: as in PyTorch. Keras adds eps to u where it divides. With eps = 0, an element whose
        gradients were all 0 becomes NaN (0 / 0), as in the paper.
    Source: Kingma and Ba (2015), algorithm 2, which has no eps.
    """
    prepared = prepare(step, lr, betas, eps, weight_decay, decoupled, maximize, grad_scale)
    launch(prepared, (param, grad, m, u), engine, "adamax_step", seed, step, remainder)
