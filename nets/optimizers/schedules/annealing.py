"""From one rate to another within so many steps: straight, by a power, along a cosine."""

from __future__ import annotations

from abc import abstractmethod
from math import cos, pi

from ....backend.checks.numbers import count, non_negative, positive
from .schedule import UNIT, Schedule


def straight(part: float) -> float:
    """The share of the way that is gone after a part of the time, both in [0, 1]."""
    return part


def cosine(part: float) -> float:
    """The same along half a wave: slow, fast, slow."""
    return (1 - cos(pi * part)) / 2


def between(first: float, last: float, share: float) -> float:
    """The rate there: exactly `first` at 0 and `last` at 1."""
    return first * (1 - share) + last * share


class Annealing(Schedule):
    """lr = lr0 (1 - share) + end share, share that of t / length: from lr0 to `end`, which stays.

    t counts epochs or mini-batches from 0: so `end` is the rate of the one after `length` of them,
    and a run of just `length` has all but that.
    """

    length: int

    def __init__(self, lr0: float, length: int, end: float, per: str) -> None:
        self.lr0 = non_negative("lr0", lr0)
        self.length = count("length", length)
        self.end = non_negative("end", end)
        self.per = UNIT("per", per)

    def rate(self, epoch: int, step: int) -> float:
        part = min(self.done(epoch, step) / self.length, 1.0)
        return between(self.lr0, self.end, self.share(part))

    @abstractmethod
    def share(self, part: float) -> float:
        """The share of the way from lr0 to `end` after a part of the time, both in [0, 1]."""


class LinearDecay(Annealing):
    """lr = lr0 + (end - lr0) t / length, in a straight line; then `end`.

    It rises where `end` is the larger one. PyTorch's LinearLR(start_factor=a, end_factor=b,
    total_iters=length) at a rate of lr is LinearDecay(a lr, length, end=b lr); optax calls it
    linear_schedule, Keras PolynomialDecay with power=1.

    Args:
        lr0: the first rate, >= 0.
        length: mini-batches from lr0 to `end`, at least 1.
        end: the rate after these, >= 0.
        per: "step", or "epoch": `length` is in epochs.

    Example:
        >>> from onepass.nets import LinearDecay
        >>> schedule = LinearDecay(0.1, 4)
        >>> [round(schedule(0, step), 3) for step in range(1, 7)]
        [0.1, 0.075, 0.05, 0.025, 0.0, 0.0]
    """

    def __init__(self, lr0: float, length: int, end: float = 0.0, per: str = "step") -> None:
        super().__init__(lr0, length, end, per)

    def share(self, part: float) -> float:
        return straight(part)


class Polynomial(Annealing):
    """lr = end + (lr0 - end) (1 - t / length)^power; then `end`.

    PyTorch's PolynomialLR has end = 0 and counts what its scheduler is told, mostly epochs. Keras'
    PolynomialDecay has end_learning_rate=1e-4 by default; its `cycle` is not offered.

    Args:
        lr0: the first rate, >= 0.
        length: mini-batches from lr0 to `end`, at least 1.
        end: the rate after these, >= 0.
        power: > 0: 1 is `LinearDecay`; larger ones fall fast at first, smaller ones at last.
        per: "step", or "epoch": `length` is in epochs.

    Example:
        >>> from onepass.nets import Polynomial
        >>> schedule = Polynomial(0.1, 4, power=2)
        >>> [round(schedule(0, step), 4) for step in range(1, 7)]
        [0.1, 0.0563, 0.025, 0.0063, 0.0, 0.0]
    """

    def __init__(
        self, lr0: float, length: int, end: float = 0.0, power: float = 1.0, per: str = "step"
    ) -> None:
        super().__init__(lr0, length, end, per)
        self.power = positive("power", power)

    def share(self, part: float) -> float:
        return float(1 - (1 - part) ** self.power)


class Cosine(Annealing):
    """lr = end + (lr0 - end) (1 + cos(pi t / length)) / 2; then `end`.

    PyTorch's CosineAnnealingLR(T_max=length, eta_min=end) until t = length, where it rises again
    and this one stays. Keras' CosineDecay and optax' cosine_decay_schedule stay, too; their `alpha`
    is end / lr0. For their warm-up: Warmup(500).then(Cosine(...)).

    Args:
        lr0: the first rate, >= 0.
        length: mini-batches from lr0 to `end`, at least 1.
        end: the rate after these, >= 0.
        per: "step", or "epoch": `length` is in epochs.

    Example:
        >>> from onepass.nets import Cosine
        >>> schedule = Cosine(0.1, 4)
        >>> [round(schedule(0, step), 4) for step in range(1, 7)]
        [0.1, 0.0854, 0.05, 0.0146, 0.0, 0.0]

    Source: Loshchilov and Hutter 2017, SGDR, equation 5 (without restarts).
    """

    def __init__(self, lr0: float, length: int, end: float = 0.0, per: str = "step") -> None:
        super().__init__(lr0, length, end, per)

    def share(self, part: float) -> float:
        return cosine(part)
