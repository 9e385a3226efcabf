"""Cosine annealing that starts again and again."""

from __future__ import annotations

from ....backend.checks.numbers import count, non_negative
from .annealing import between, cosine
from .schedule import UNIT, Schedule


class CosineRestarts(Schedule):
    """lr = end + (lr0 - end) (1 + cos(pi t / T)) / 2, t since the last restart, T this period.

    After a period the rate is lr0 again, and the next period is `growth` times as long. PyTorch's
    CosineAnnealingWarmRestarts(T_0=period, T_mult=growth, eta_min=end). Keras'
    CosineDecayRestarts(first_decay_steps=period, t_mul=growth, alpha=end / lr0) has a t_mul of 2
    by default, and an m_mul for lower peaks, which is not offered.

    Args:
        lr0: the rate after each restart, >= 0.
        period: mini-batches of the first period, at least 1.
        growth: an integer, at least 1: how many times longer each period is.
        end: what the rate falls to within a period, >= 0.
        per: "step", or "epoch": `period` is in epochs.

    Example:
        >>> from onepass.nets import CosineRestarts
        >>> schedule = CosineRestarts(0.1, 2, growth=2)
        >>> [round(schedule(0, step), 4) for step in range(1, 9)]
        [0.1, 0.05, 0.1, 0.0854, 0.05, 0.0146, 0.1, 0.0962]

    Source: Loshchilov and Hutter 2017, SGDR: Stochastic Gradient Descent with Warm Restarts.
    """

    def __init__(
        self, lr0: float, period: int, growth: int = 1, end: float = 0.0, per: str = "step"
    ) -> None:
        self.lr0 = non_negative("lr0", lr0)
        self.period = count("period", period)
        self.growth = count("growth", growth)
        self.end = non_negative("end", end)
        self.per = UNIT("per", per)

    def rate(self, epoch: int, step: int) -> float:
        t, period = self.done(epoch, step), self.period
        if self.growth == 1:
            t %= period
        while t >= period:
            t -= period
            period *= self.growth
        return between(self.lr0, self.end, cosine(t / period))
