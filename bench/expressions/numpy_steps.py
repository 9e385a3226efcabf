"""Every step as a careful NumPy user writes it: each pass into memory that is there.

Scratch arrays are made before, outside the timing. `xp` is NumPy or CuPy. What these share with the
rules is the formula of the paper only: the hyperparameters are the public functions' defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

from ...backend import Array

LR, STEP, MOMENTUM, ALPHA, EPS, WEIGHT_DECAY = 1e-4, 10, 0.9, 0.99, 1e-8, 1e-2
BETA1, BETA2, BETA_LION = 0.9, 0.999, 0.99
RHO, RHO_EPS = 0.9, 1e-6

Tuned = Callable[..., None]


def sgd(xp: Any, scratch: Array, p: Array, g: Array) -> None:
    xp.multiply(g, LR, out=scratch)
    xp.subtract(p, scratch, out=p)


def momentum(xp: Any, scratch: Array, p: Array, g: Array, velocity: Array) -> None:
    xp.multiply(velocity, MOMENTUM, out=velocity)
    xp.add(velocity, g, out=velocity)
    sgd(xp, scratch, p, velocity)


def nesterov(xp: Any, scratch: Array, p: Array, g: Array, velocity: Array) -> None:
    xp.multiply(velocity, MOMENTUM, out=velocity)
    xp.add(velocity, g, out=velocity)
    xp.multiply(velocity, MOMENTUM, out=scratch)
    xp.add(scratch, g, out=scratch)
    sgd(xp, scratch, p, scratch)


def adagrad(xp: Any, scratch: Array, p: Array, g: Array, sum_sq: Array) -> None:
    xp.multiply(g, g, out=scratch)
    xp.add(sum_sq, scratch, out=sum_sq)
    _divided(xp, scratch, p, g, sum_sq, LR, 1e-10)


def rmsprop(xp: Any, scratch: Array, p: Array, g: Array, square_avg: Array) -> None:
    _average_square(xp, scratch, g, square_avg, ALPHA)
    _divided(xp, scratch, p, g, square_avg, LR, EPS)


def adam(xp: Any, scratch: Array, p: Array, g: Array, m: Array, v: Array) -> None:
    _averages(xp, scratch, g, m, v)
    _corrected(xp, scratch, p, m, v)


def adamw(xp: Any, scratch: Array, p: Array, g: Array, m: Array, v: Array) -> None:
    xp.multiply(p, 1 - LR * WEIGHT_DECAY, out=p)
    adam(xp, scratch, p, g, m, v)


def amsgrad(xp: Any, scratch: Array, p: Array, g: Array, m: Array, v: Array, v_max: Array) -> None:
    _averages(xp, scratch, g, m, v)
    xp.maximum(v_max, v, out=v_max)
    _corrected(xp, scratch, p, m, v_max)


def nadam(xp: Any, scratch: Array, p: Array, g: Array, m: Array, v: Array) -> None:
    _averages(xp, scratch, g, m, v)
    mu = [BETA1 * (1 - 0.5 * 0.96 ** (t * 4e-3)) for t in range(1, STEP + 2)]
    root2 = (1 - BETA2**STEP) ** 0.5
    ahead, now = mu[STEP] / (1 - prod(mu)), (1 - mu[STEP - 1]) / (1 - prod(mu[:STEP]))
    _divided(xp, scratch, p, m, v, LR * root2 * ahead, EPS * root2)
    _divided(xp, scratch, p, g, v, LR * root2 * now, EPS * root2)


def radam(xp: Any, scratch: Array, p: Array, g: Array, m: Array, v: Array) -> None:
    _averages(xp, scratch, g, m, v)
    most, past = 2 / (1 - BETA2) - 1, BETA2**STEP
    worth = most - 2 * STEP * past / (1 - past)
    share = (worth - 4) * (worth - 2) * most / ((most - 4) * (most - 2) * worth)
    _divided(xp, scratch, p, m, v, LR * (share * (1 - past)) ** 0.5 / (1 - BETA1**STEP), EPS)


def adamax(xp: Any, scratch: Array, p: Array, g: Array, m: Array, u: Array) -> None:
    _average(xp, scratch, g, m, BETA1)
    xp.multiply(u, BETA2, out=u)
    xp.absolute(g, out=scratch)
    xp.add(scratch, EPS, out=scratch)
    xp.maximum(u, scratch, out=u)
    xp.divide(m, u, out=scratch)
    xp.multiply(scratch, LR / (1 - BETA1**STEP), out=scratch)
    xp.subtract(p, scratch, out=p)


def adadelta(xp: Any, scratch: Array, p: Array, g: Array, square_avg: Array, acc: Array) -> None:
    _average_square(xp, scratch, g, square_avg, RHO)
    xp.add(acc, RHO_EPS, out=scratch)
    xp.add(square_avg, RHO_EPS, out=square_avg)  # and back again, for want of scratch
    xp.divide(scratch, square_avg, out=scratch)
    xp.subtract(square_avg, RHO_EPS, out=square_avg)
    xp.sqrt(scratch, out=scratch)
    xp.multiply(scratch, g, out=scratch)
    xp.multiply(acc, RHO, out=acc)
    xp.multiply(scratch, LR, out=scratch)
    xp.subtract(p, scratch, out=p)
    xp.multiply(scratch, scratch, out=scratch)
    xp.multiply(scratch, (1 - RHO) / LR**2, out=scratch)
    xp.add(acc, scratch, out=acc)


def lion(xp: Any, scratch: Array, p: Array, g: Array, m: Array) -> None:
    xp.multiply(m, BETA1 / (1 - BETA1), out=scratch)
    xp.add(scratch, g, out=scratch)
    xp.sign(scratch, out=scratch)
    sgd(xp, scratch, p, scratch)
    _average(xp, scratch, g, m, BETA_LION)


TUNED: dict[str, Tuned] = {
    step.__name__: step
    for step in (
        sgd,
        momentum,
        nesterov,
        adagrad,
        rmsprop,
        adam,
        adamw,
        amsgrad,
        nadam,
        radam,
        adamax,
        adadelta,
        lion,
    )
}


def tuned_step(name: str, xp: Any, arrays: tuple[Array, ...]) -> Callable[[], None]:
    """The step of a case on `arrays` (param, grad, states), with scratch of its own."""
    return partial(TUNED[name], xp, xp.empty_like(arrays[0]), *arrays)


def _averages(xp: Any, scratch: Array, g: Array, m: Array, v: Array) -> None:
    """The running averages of g and of its square."""
    _average(xp, scratch, g, m, BETA1)
    _average_square(xp, scratch, g, v, BETA2)


def _average(xp: Any, scratch: Array, g: Array, m: Array, past: float) -> None:
    xp.multiply(m, past, out=m)
    xp.multiply(g, 1 - past, out=scratch)
    xp.add(m, scratch, out=m)


def _average_square(xp: Any, scratch: Array, g: Array, v: Array, past: float) -> None:
    xp.multiply(v, past, out=v)
    xp.multiply(g, g, out=scratch)
    xp.multiply(scratch, 1 - past, out=scratch)
    xp.add(v, scratch, out=v)


def _corrected(xp: Any, scratch: Array, p: Array, m: Array, v: Array) -> None:
    """p -= lr m / (sqrt(v) + eps), of averages that are still to be corrected."""
    unbias1, root2 = 1 - BETA1**STEP, (1 - BETA2**STEP) ** 0.5
    _divided(xp, scratch, p, m, v, LR * root2 / unbias1, EPS * root2)


def _divided(
    xp: Any, scratch: Array, p: Array, above: Array, below: Array, lr: float, eps: float
) -> None:
    """p -= lr above / (sqrt(below) + eps)"""
    xp.sqrt(below, out=scratch)
    xp.add(scratch, eps, out=scratch)
    xp.divide(above, scratch, out=scratch)
    xp.multiply(scratch, lr, out=scratch)
    xp.subtract(p, scratch, out=p)
