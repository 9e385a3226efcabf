"""RAdam: Adam whose first steps are those of momentum, while its variance can't be told."""

from __future__ import annotations

from numpy import maximum, sqrt

from ...backend import Array
from ...backend.checks.numbers import decay_rates, non_negative, step_number
from ..launch import launch
from ..rule import COMMON, Prepared, Rule
from .adam import remembered_constants

ENOUGH = 5.0  # samples that the average of squares must be worth


def update(p, g, m, v, beta1, rest1, beta2, rest2, lr, eps, early, least):
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    p = p - m * maximum(lr / (sqrt(v) + eps + early), least)
    return p, m, v


RADAM = Rule("radam", update, ("m", "v"), floor="eps", unsigned=("v",))
HYPERPARAMETERS = {
    "lr": non_negative,
    "betas": decay_rates,
    "eps": non_negative,
    **COMMON,
}
_constants = remembered_constants(RADAM, HYPERPARAMETERS)


def prepare(step: int, *hyper: object) -> Prepared:
    """The rule and coefficients of this step; `hyper` in the order of HYPERPARAMETERS.

    Without rectification param moves by lr m: `early` is 1, which takes the quotient to lr at most,
    and `least` is lr. Later both are 0.
    """
    rule, first, beta1, beta2, lr, eps = _constants(*hyper)
    t = step_number("step", step)
    past = beta2**t
    lr_t, most = lr / (1.0 - beta1**t), 2.0 / (1.0 - beta2) - 1.0
    worth = most - 2.0 * t * past / (1.0 - past)
    if worth <= ENOUGH:
        return rule, (*first, lr_t, eps, 1.0, lr_t)
    share = (worth - 4.0) * (worth - 2.0) * most / ((most - 4.0) * (most - 2.0) * worth)
    return rule, (*first, lr_t * (share * (1.0 - past)) ** 0.5, eps, 0.0, 0.0)


def radam_step(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    lr: float = 1e-3,
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
    """One RAdam step, in place.

    With g as in `sgd_step`, (b1, b2) = betas, t = step, r = 2 / (1 - b2) - 1 and
    r_t = r - 2 t b2^t / (1 - b2^t):

        m = b1 m + (1 - b1) g              mhat = m / (1 - b1^t)
        v = b2 v + (1 - b2) g^2
        param = param - lr mhat                                                    while r_t <= 5
        param = param - lr mhat s sqrt(1 - b2^t) / (sqrt(v) + eps)                 later, where
        s^2 = (r_t - 4) (r_t - 2) r / ((r - 4) (r - 2) r_t)

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        m, v: states, same shape and dtype, zeros before the first step; written in place.
        step: t, the number of this update, counting from 1.
        lr: learning rate, >= 0.
        betas: weights of the past in the two averages, each in [0, 1).
        eps: added to the root of v, >= 0.
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

    Conventions: as in PyTorch and the authors' code, which begin to rectify at 5, where the paper
        has 4, and add eps to the root of v before its bias correction. Tiny or no eps: as in
        `adam_step`, below 4e-12 (float64: 3e-138).
    Source: Liu et al. (2020), "On the variance of the adaptive learning rate", algorithm 2.
    """
    prepared = prepare(step, lr, betas, eps, weight_decay, decoupled, maximize, grad_scale)
    launch(prepared, (param, grad, m, v), engine, "radam_step", seed, step, remainder)
