"""Rates that fall and fall: by time, by a factor, by the root, in stairs."""

from __future__ import annotations

from math import sqrt

from ....backend.checks.numbers import count, fraction, non_negative, positive
from .schedule import UNIT, Schedule


class InverseTimeDecay(Schedule):
    """lr = lr0 / (1 + decay * t), t the epoch or the mini-batch, counted from 0.

    Args:
        lr0: the first rate, > 0.
        decay: how fast it falls, >= 0: after 1 / decay epochs it is half of lr0.
        per: "epoch", or "step" for mini-batches.

    Example:
        >>> schedule = InverseTimeDecay(0.2, decay=1.0)
        >>> [round(schedule(epoch, 1), 3) for epoch in range(4)]
        [0.2, 0.1, 0.067, 0.05]
    """

    def __init__(self, lr0: float, decay: float, per: str = "epoch") -> None:
        self.lr0 = positive("lr0", lr0)
        self.decay = non_negative("decay", decay)
        self.per = UNIT("per", per)

    def rate(self, epoch: int, step: int) -> float:
        return self.lr0 / (1 + self.decay * self.done(epoch, step))


class ExponentialDecay(Schedule):
    """lr = lr0 * base^t, t the epoch or the mini-batch, counted from 0.

    Args:
        lr0: the first rate, > 0.
        base: in (0, 1].
        per: "epoch", or "step" for mini-batches.
    """

    def __init__(self, lr0: float, base: float = 0.95, per: str = "epoch") -> None:
        self.lr0 = positive("lr0", lr0)
        self.base = _factor("base", base)
        self.per = UNIT("per", per)

    def rate(self, epoch: int, step: int) -> float:
        return float(self.lr0 * self.base ** self.done(epoch, step))


class InverseSqrtDecay(Schedule):
    """lr = lr0 * k / sqrt(t), t the number of the epoch or of the mini-batch, counted from 1.

    So the first epoch (or batch) has the rate k * lr0, although `fit` calls it epoch 0.

    Args:
        lr0, k: factors, > 0.
        per: "epoch", or "step" for mini-batches.
    """

    def __init__(self, lr0: float, k: float = 1.0, per: str = "epoch") -> None:
        self.lr0 = positive("lr0", lr0)
        self.k = positive("k", k)
        self.per = UNIT("per", per)

    def rate(self, epoch: int, step: int) -> float:
        return self.lr0 * self.k / sqrt(self.done(epoch, step) + 1)


class Staircase(Schedule):
    """lr = lr0 * factor^floor(t / every), t from 0: constant, then lower, in stairs.

    Args:
        lr0: the rate of the first `every` epochs, > 0.
        factor: of every drop, in (0, 1].
        every: epochs from one drop to the next, at least 1.
        per: "epoch", or "step" for mini-batches.
    """

    def __init__(
        self, lr0: float, factor: float = 0.5, every: int = 10, per: str = "epoch"
    ) -> None:
        self.lr0 = positive("lr0", lr0)
        self.factor = _factor("factor", factor)
        self.every = count("every", every)
        self.per = UNIT("per", per)

    def rate(self, epoch: int, step: int) -> float:
        return float(self.lr0 * self.factor ** (self.done(epoch, step) // self.every))


def _factor(name: str, value: float) -> float:
    if not (number := fraction(name, value)):
        raise ValueError(f"{name} is {value!r}; expected a number in (0, 1], such as 0.95")
    return number
