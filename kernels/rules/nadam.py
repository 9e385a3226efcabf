"""NAdam: Adam that looks ahead as Nesterov's momentum does."""

from __future__ import annotations

from array import array
from functools import lru_cache
from threading import Lock

from numpy import sqrt

from ...backend import Array
from ...backend.checks.numbers import decay_rates, non_negative, step_number
from ..launch import launch
from ..rule import COMMON, Prepared, Rule
from .adam import remembered_constants


def update(p, g, m, v, beta1, rest1, beta2, rest2, lr_m, lr_g, eps):
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    p = p - (lr_m * m + lr_g * g) / (sqrt(v) + eps)
    return p, m, v


NADAM = Rule("nadam", update, ("m", "v"), floor="eps", unsigned=("v",))
HYPERPARAMETERS = {
    "lr": non_negative,
    "betas": decay_rates,
    "eps": non_negative,
    "momentum_decay": non_negative,
    **COMMON,
}
NOTHING = 2.0**-60  # below it 1 - product is 1
_lock = Lock()
_constants = remembered_constants(NADAM, HYPERPARAMETERS)


def _mu(beta1: float, momentum_decay: float, t: int) -> float:
    return beta1 * (1.0 - 0.5 * 0.96 ** (t * momentum_decay))


@lru_cache(maxsize=16)
def _found(beta1: float, momentum_decay: float) -> array[float]:
    """The products that were asked for, from step 0 on."""
    return array("d", [1.0])


def nadam_product(beta1: float, momentum_decay: float, t: int) -> float:
    """mu_1 ... mu_t, multiplied in this order, whichever was asked for before.

    It falls as b1^t at least, and has no part in 1 - product once it is below NOTHING.
    """
    found = _found(beta1, momentum_decay)
    with _lock:
        while len(found) <= t and found[-1] > NOTHING:
            found.append(found[-1] * _mu(beta1, momentum_decay, len(found)))
    return found[t] if t < len(found) else 0.0


def prepare(step: int, *hyper: object) -> Prepared:
    rule, first, beta1, beta2, lr, eps, momentum_decay = _constants(*hyper)
    t = step_number("step", step)
    root2 = (1.0 - beta2**t) ** 0.5
    mu, ahead = (_mu(beta1, momentum_decay, k) for k in (t, t + 1))
    rest, rest_ahead = (1.0 - nadam_product(beta1, momentum_decay, k) for k in (t, t + 1))
    lr_m, lr_g = lr * root2 * ahead / rest_ahead, lr * root2 * (1.0 - mu) / rest
    return rule, (*first, lr_m, lr_g, eps * root2)


def nadam_step(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    momentum_decay: float = 4e-3,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    seed: int | None = None,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One NAdam step, in place.

    With g as in `sgd_step`, (b1, b2) = betas, t = step, mu_t = b1 (1 - 0.96^(t momentum_decay) / 2)
    and M_t = mu_1 mu_2 ... mu_t:

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2                          vhat = v / (1 - b2^t)
        mbar = mu_(t+1) m / (1 - M_(t+1)) + (1 - mu_t) g / (1 - M_t)
        param = param - lr mbar / (sqrt(vhat) + eps)

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        m, v: states, same shape and dtype, zeros before the first step; written in place.
        step: t, the number of this update, counting from 1.
        lr: learning rate, >= 0.
        betas: weights of the past in the two averages, each in [0, 1).
        eps: added to the root of vhat, >= 0.
        momentum_decay: how fast mu rises from b1 / 2 to b1, >= 0.
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

    Conventions: as in PyTorch, whose M_t is a number of float32 that it keeps; here it follows from
        the number of the step, in double precision. Keras has a momentum_decay of 1, lr 1e-3
        and eps 1e-7. Tiny or no eps: as in `adam_step`, below 4e-12 (float64: 3e-138).
    Source: Dozat (2016), "Incorporating Nesterov momentum into Adam", algorithm 2.
    """
    prepared = prepare(
        step, lr, betas, eps, momentum_decay, weight_decay, decoupled, maximize, grad_scale
    )
    launch(prepared, (param, grad, m, v), engine, "nadam_step", seed, step, remainder)
