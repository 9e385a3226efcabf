"""AMSGrad: Adam whose second moment never falls."""

from __future__ import annotations

from typing import Any

from numpy import maximum, sqrt

from ...backend import Array
from ...backend.checks.numbers import step_number
from ..launch import launch
from ..rule import Prepared, Rule
from .adam import HYPERPARAMETERS as HYPERPARAMETERS
from .adam import remembered_constants


def update(p, g, m, v, v_max, beta1, rest1, beta2, rest2, unbias2, lr, eps):
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    v_max = maximum(v_max, unbias2 * v)
    p = p - lr * m / (sqrt(v_max) + eps)
    return p, m, v, v_max


AMSGRAD = Rule("amsgrad", update, ("m", "v", "v_max"), floor="eps")
_constants = remembered_constants(AMSGRAD)


def prepare(step: int, *hyper: Any) -> Prepared:
    rule, first, beta1, beta2, lr, eps = _constants(*hyper)
    t = step_number("step", step)
    unbias2, lr_t = 1.0 / (1.0 - beta2**t), lr / (1.0 - beta1**t)
    return rule, (*first, unbias2, lr_t, eps)


def amsgrad_step(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    v_max: Array,
    *,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    engine: str = "auto",
) -> None:
    """One AMSGrad step, in place.

    With g as in `sgd_step`, (b1, b2) = betas, t = step:

        m = b1 m + (1 - b1) g              mhat = m / (1 - b1^t)
        v = b2 v + (1 - b2) g^2            vhat = v / (1 - b2^t)
        v_max = max(v_max, vhat)
        param = param - lr mhat / (sqrt(v_max) + eps)

    Args:
        v_max: state, same shape and dtype, zeros before the first step; written in place.
        The others are those of `adam_step`.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: as `adam_step`.

    Conventions: the maximum is taken of the bias-corrected vhat, as in optax. PyTorch and Keras
        take it of v itself and correct afterwards, so their first steps differ from these.
        Tiny or no eps: as in `adam_step`, below 4e-12 (float64: 3e-138).
    Source: Reddi, Kale and Kumar (2018), algorithm 2, with Adam's bias correction.
    """
    prepared = prepare(step, lr, betas, eps, weight_decay, decoupled, maximize, grad_scale)
    launch(prepared, (param, grad, m, v, v_max), engine)
