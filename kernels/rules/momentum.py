"""Momentum in three forms, each with or without Nesterov's look-ahead."""

from __future__ import annotations

from typing import Any

from ...backend import Array
from ...backend.checks.numbers import (
    decay_rate,
    flag,
    fraction,
    non_negative,
    one_of,
    optional_step,
)
from ..launch import launch
from ..rule import COMMON, Prepared, Rule, prelude_coefficients, remembered


def update(p, g, velocity, momentum, gain, rate):
    velocity = momentum * velocity + gain * g
    p = p + rate * velocity
    return p, velocity


def update_nesterov(p, g, velocity, momentum, gain, rate):
    velocity = momentum * velocity + gain * g
    p = p + rate * (momentum * velocity + gain * g)
    return p, velocity


MOMENTUM = Rule("momentum", update, ("velocity",))
NESTEROV = Rule("nesterov", update_nesterov, ("velocity",))
HYPERPARAMETERS = {
    "lr": non_negative,
    "momentum": decay_rate,
    "form": one_of("heavy-ball", "averaged", "velocity"),
    "nesterov": flag,
    "dampening": fraction,
    **COMMON,
}


def _first_and_later(
    lr: float, momentum: float, form: str, nesterov: bool, dampening: float, *common: Any
) -> tuple[float, Prepared, Prepared]:
    """dampening, and what the rule takes in the first step and in later ones: the prelude's, then
    b, the gradient's factor in v, and v's factor in the parameter."""
    if dampening and (nesterov or form != "heavy-ball"):
        other = "nesterov" if nesterov else f"form {form!r}"
        raise ValueError(
            f"dampening is {dampening!r} beside {other}; expected 0, or form 'heavy-ball' without "
            "nesterov"
        )
    gain, rate = {
        "heavy-ball": (1.0, -lr),
        "averaged": (1.0 - momentum, -lr),
        "velocity": (-lr, 1.0),
    }[form]
    rule = NESTEROV if nesterov else MOMENTUM
    prelude = prelude_coefficients(lr, *common)
    damped = gain - dampening if momentum else gain
    first = rule.prepared(*prelude, momentum, gain, rate)
    return dampening, first, rule.prepared(*prelude, momentum, damped, rate)


_remembered = remembered(HYPERPARAMETERS, _first_and_later)


def prepare(step: int | None, *hyper: Any) -> Prepared:
    dampening, first, later = _remembered(*hyper)
    t = optional_step("step", step, f"dampening={dampening!r}" if dampening else "")
    made: Prepared = first if t == 1 else later
    return made


def momentum_step(
    param: Array,
    grad: Array,
    velocity: Array,
    *,
    step: int | None = None,
    lr: float,
    momentum: float = 0.9,
    form: str = "heavy-ball",
    nesterov: bool = False,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    grad_scale: float = 1.0,
    seed: int | None = None,
    remainder: Array | None = None,
    engine: str = "auto",
) -> None:
    """One step of gradient descent with momentum, in place.

    With g as in `sgd_step`, b = momentum, v = velocity:

        "heavy-ball":  v = b v + g             param = param - lr v
        "averaged":    v = b v + (1 - b) g     param = param - lr v
        "velocity":    v = b v - lr g          param = param + v

    nesterov takes in the last assignment, instead of v, the same expression once more with the
    new v: b v + g, b v + (1 - b) g, or b v - lr g.

    dampening: v = b v + (1 - dampening) g in "heavy-ball", but for the first step, and for b = 0.

    Args:
        param: parameters, any shape, float16/32/64; written in place: other names for it, and
            views such as param.T, change too. Keep param.copy() for what was before.
        grad: gradient of the loss, same shape and dtype; left untouched.
        velocity: state, same shape and dtype, zeros before the first step; written in place.
        step: the number of this update, counting from 1; dampening needs it.
        lr: learning rate, >= 0.
        momentum: b, in [0, 1).
        form: which recurrence; a change of lr acts at once in the first two, and only on new
            gradients in "velocity".
        nesterov: look ahead along the velocity.
        dampening: what later gradients lose, in [0, 1]; of "heavy-ball" without nesterov.
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

    Conventions: "heavy-ball" is PyTorch's, with its dampening; "velocity" is Keras's; "averaged" is
        the exponentially weighted average of the gradient, without bias correction. PyTorch starts
        its buffer at the first gradient, which equals starting "heavy-ball" at zeros.
    Source: Polyak (1964), eq. 9; Nesterov (1983); Sutskever et al. (2013), eqs. 1-4, for the form
        with the gradient taken at the parameters themselves.
    """
    prepared = prepare(
        step, lr, momentum, form, nesterov, dampening, weight_decay, decoupled, maximize, grad_scale
    )
    launch(prepared, (param, grad, velocity), engine, "momentum_step", seed, step, remainder)
