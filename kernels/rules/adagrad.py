"""AdaGrad: each element's step shrinks with the sum of its squared gradients."""

from __future__ import annotations

from typing import Any

from numpy import sqrt

from ...backend import Array
from ...backend.checks.numbers import non_negative, optional_step
from ..launch import launch
from ..rule import COMMON, Prepared, Rule, prelude_coefficients, remembered


def update(p, g, sum_sq, lr, eps):
    sum_sq = sum_sq + g * g
    p = p - lr * g / (sqrt(sum_sq) + eps)
    return p, sum_sq


ADAGRAD = Rule("adagrad", update, ("sum_sq",), floor="eps", unsigned=("sum_sq",))
HYPERPARAMETERS = {
    "lr": non_negative,
    "eps": non_negative,
    "lr_decay": non_negative,
    **COMMON,
}


def _of_lr(lr: float, eps: float, lr_decay: float, *common: Any) -> tuple[Any, ...]:
    """What the rule takes as a function of the decayed learning rate, and of the first one."""

    def prepared(decayed: float) -> Prepared:
        return ADAGRAD.prepared(*prelude_coefficients(decayed, *common), decayed, eps)

    return prepared, prepared(lr), lr, lr_decay


_remembered = remembered(HYPERPARAMETERS, _of_lr)


def prepare(step: int | None, *hyper: Any) -> Prepared:
    prepared, first, lr, lr_decay = _remembered(*hyper)
    t = optional_step("step", step, f"lr_decay={lr_decay!r}" if lr_decay else "")
    made: Prepared = prepared(lr / (1.0 + (t - 1) * lr_decay)) if lr_decay else first
    return made


def adagrad_step(
    param: Array,
    grad: Array,
    sum_sq: Array,
    *,
    step: int | None = None,
    lr: float = 1e-2,
    eps: float = 1e-10,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    seed: int | None = None,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One AdaGrad step, in place.

    With g as in `sgd_step`:

        sum_sq = sum_sq + g^2
        param = param - lr g / (sqrt(sum_sq) + eps)

    lr_decay: with lr / (1 + (step - 1) lr_decay) instead of lr.

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        sum_sq: state, same shape and dtype, zeros before the first step, or another initial value
            in every element; written in place.
        step: the number of this update, counting from 1; lr_decay needs it.
        lr: learning rate, >= 0.
        eps: added to the root, >= 0.
        lr_decay: how fast the learning rate falls with the steps, >= 0; so does the shrinking by
            decoupled weight decay.
        weight_decay: L2 coefficient, >= 0.
        decoupled: weight decay apart from the gradient, as in `adam_step`.
        maximize: go up the gradient instead of down.
        grad_scale: factor on the gradient, for clipping or loss unscaling without another pass.
        seed: of the noise that rounds states in 16 or 8 bits (`zero_state`); needed for these
            unless `step` is given, another at each step.
        remainder: that of a bfloat16 `param`, as in `sgd_step`.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.

    Conventions: eps is outside the root, as in PyTorch; Keras puts it inside and starts the sum
        at 0.1: fill sum_sq with it. Tiny or no eps: as in `adam_step`, below 4e-12 (float64:
        3e-138).
    Source: Duchi, Hazan and Singer (2011), the diagonal form of Figure 1.
    """
    prepared = prepare(step, lr, eps, lr_decay, weight_decay, decoupled, maximize, grad_scale)
    launch(prepared, (param, grad, sum_sq), engine, "adagrad_step", seed, step, remainder)
