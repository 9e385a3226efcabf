"""Lion: steps of one size, by the sign of an average of the gradient."""

from __future__ import annotations

from typing import Any

from numpy import sign

from ...backend import Array
from ...backend.checks.numbers import decay_rates, non_negative
from ..launch import launch
from ..rule import COMMON, Prepared, Rule, prelude_coefficients, remembered


def update(p, g, m, beta1, rest1, beta2, rest2, lr):
    p = p - lr * sign(beta1 * m + rest1 * g)
    m = beta2 * m + rest2 * g
    return p, m


LION = Rule("lion", update, ("m",))
HYPERPARAMETERS = {"lr": non_negative, "betas": decay_rates, **COMMON}


def _prepare(lr: float, betas: tuple[float, float], *common: Any) -> Prepared:
    beta1, beta2 = betas
    own = beta1, 1.0 - beta1, beta2, 1.0 - beta2, lr
    return LION.prepared(*prelude_coefficients(lr, *common), *own)


prepare = remembered(HYPERPARAMETERS, _prepare)


def lion_step(
    param: Array,
    grad: Array,
    m: Array,
    *,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
    decoupled: bool = True,
    maximize: bool = False,
    grad_scale: float = 1.0,
    seed: int | None = None,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One Lion step, in place.

    With g as in `sgd_step`, (b1, b2) = betas:

        param = param - lr sign(b1 m + (1 - b1) g)       where sign(0) = 0
        m = b2 m + (1 - b2) g

    after param was multiplied by 1 - lr weight_decay.

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        m: state, same shape and dtype, zeros before the first step; written in place.
        lr: learning rate, >= 0, which every element moves by: three to ten times less than Adam's.
        betas: weights of the past in the average that the sign is taken of, and in the one that is
            kept, each in [0, 1).
        weight_decay: coefficient of the decay, >= 0: three to ten times AdamW's, since lr is less.
        decoupled: weight decay apart from the gradient, as in `adam_step`; False: L2.
        maximize: go up the gradient instead of down.
        grad_scale: factor on the gradient, which matters only beside other gradients' in m.
        seed: of the noise that rounds states in 16 or 8 bits (`zero_state`); needed for these,
            another at each step, such as its number.
        remainder: that of a bfloat16 `param`, as in `sgd_step`.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.

    Conventions: as the authors' code, in its defaults too; Keras and optax have the same formula,
        with lr 1e-3 in Keras. Averages below 1.2e-38 (float64: 2.2e-308) count as 0, whose sign is
        0, in compiled engines.
    Source: Chen et al. (2023), "Symbolic discovery of optimization algorithms", algorithm 2.
    """
    prepared = prepare(lr, betas, weight_decay, decoupled, maximize, grad_scale)
    launch(prepared, (param, grad, m), engine, "lion_step", seed, None, remainder)
