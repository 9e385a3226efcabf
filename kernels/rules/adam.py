"""Adam and AdamW: bias-corrected running averages of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy import sqrt

from ...backend import Array
from ...backend.checks.numbers import Check, decay_rates, flag, non_negative, step_number
from ..launch import launch
from ..rule import COMMON, Prepared, Rule, prelude_coefficients, remembered


def update(p, g, m, v, beta1, rest1, beta2, rest2, lr, eps):
    m = beta1 * m + rest1 * g
    v = beta2 * v + rest2 * (g * g)
    p = p - lr * m / (sqrt(v) + eps)
    return p, m, v


ADAM = Rule("adam", update, ("m", "v"), floor="eps", unsigned=("v",))
HYPERPARAMETERS = {
    "lr": non_negative,
    "betas": decay_rates,
    "eps": non_negative,
    "eps_uncorrected": flag,
    **COMMON,
}


def remembered_constants(rule: Rule, checks: Mapping[str, Check]) -> Callable[..., Any]:
    """From hyperparameters to what is the same in every step, which corrects the averages' bias:

    `rule` for these values with its first coefficients, then beta1, beta2, lr, eps, and those of
    `checks` that only this rule has.
    """

    def constants(
        lr: float, betas: tuple[float, float], eps: float, *others: Any
    ) -> tuple[Any, ...]:
        beta1, beta2 = betas
        own, common = others[: -len(COMMON)], others[-len(COMMON) :]
        prelude = prelude_coefficients(lr, *common)
        prepared = rule.prepared(*prelude, beta1, 1.0 - beta1, beta2, 1.0 - beta2)
        return (*prepared, beta1, beta2, lr, eps, *own)

    return remembered(checks, constants)


def corrected(rule: Rule) -> Callable[..., Prepared]:
    """`prepare` of a rule whose step is divided by the root of an average of squares."""
    constants = remembered_constants(rule, HYPERPARAMETERS)

    def prepare(step: int, *hyper: Any) -> Prepared:
        """The rule and coefficients of this step; `hyper` in the order of HYPERPARAMETERS."""
        prepared, first, beta1, beta2, lr, eps, uncorrected = constants(*hyper)
        t = step_number("step", step)
        root2 = (1.0 - beta2**t) ** 0.5
        lr_t = lr * root2 / (1.0 - beta1**t)
        return prepared, (*first, lr_t, eps if uncorrected else eps * root2)

    return prepare


prepare = corrected(ADAM)


def adam_step(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    eps_uncorrected: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    seed: int | None = None,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One Adam step (AdamW with decoupled=True), in place.

    With g as in `sgd_step`, (b1, b2) = betas, t = step:

        m = b1 m + (1 - b1) g              mhat = m / (1 - b1^t)
        v = b2 v + (1 - b2) g^2            vhat = v / (1 - b2^t)
        param = param - lr mhat / (sqrt(vhat) + eps)

    eps_uncorrected: / ((sqrt(v) + eps) / sqrt(1 - b2^t)) instead, so that eps weighs more at first.
    decoupled: weight_decay leaves g alone; param is first multiplied by 1 - lr weight_decay.

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        m, v: states, same shape and dtype, zeros before the first step; written in place.
        step: t, the number of this update, counting from 1.
        lr: learning rate, >= 0.
        betas: weights of the past in the two averages, each in [0, 1).
        eps: added to the root of vhat, >= 0.
        eps_uncorrected: added to the root of v, before the correction.
        weight_decay: L2 coefficient, >= 0, or that of AdamW's decay.
        decoupled: AdamW's weight decay instead of L2.
        maximize: go up the gradient instead of down.
        grad_scale: factor on the gradient, for clipping or loss unscaling without another pass.
        seed: of the noise that rounds states in 16 or 8 bits (`zero_state`); 0 by default. Arrays
            that are stepped with the same one are rounded alike: give each another.
        remainder: that of a bfloat16 `param`, as in `sgd_step`.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.

    Conventions: as in PyTorch. The kernel uses the equal form of the paper's section 2, with
        lr sqrt(1 - b2^t) / (1 - b1^t) and eps sqrt(1 - b2^t) worked out once a step in double
        precision. Keras, TensorFlow and scikit-learn, as that section, keep eps itself there:
        eps_uncorrected=True (and an eps of 1e-7 in Keras).
        float16 states lose what float16 can't hold: gradients below about 2e-4 leave v at 0, and
        the step grows. Scale the loss up (and grad_scale down), or keep these arrays in float32.
        With eps = 0, an element whose gradients were all 0 becomes NaN (0 / 0). States below
        1.2e-38 (float64: 2.2e-308) count as 0 in engine "numba", for speed, but not beside an eps
        below about 1e-10 (1e-136), where it could show. CuPy counts them as 0 in float32 whatever
        eps is: on a GPU, gradients below 1e-17 need an eps of 1e-17 or more.
    Source: Kingma and Ba (2015), algorithm 1; Loshchilov and Hutter (2019), algorithm 2.
    """
    prepared = prepare(
        step, lr, betas, eps, eps_uncorrected, weight_decay, decoupled, maximize, grad_scale
    )
    launch(prepared, (param, grad, m, v), engine, "adam_step", seed, step, remainder)
