"""Small rates at first."""

from __future__ import annotations

from copy import copy

from ....backend.checks.numbers import count, non_negative, positive
from .annealing import between, straight
from .schedule import UNIT, Schedule


class Warmup(Schedule):
    """lr = start + (lr - start) t / length, in a straight line up to the rate of what follows.

    `Warmup(500).then(Cosine(0.1, 10_000))` rises to 0.1 within 500 mini-batches and falls to 0
    within 10,000 more.

    Args:
        length: mini-batches before the rate is reached, at least 1.
        lr: the rate that it rises to, > 0, and stays at where nothing follows; None: the first one
            of the schedule that follows, by `then` or in a `Chain`.
        start: the rate of the first mini-batch, >= 0; None: lr / length, as a rate of 0 would waste
            it. optax, Keras' CosineDecay(warmup_steps=) and transformers begin with start=0;
            PyTorch's LinearLR at a third of lr by default.
        per: "step", or "epoch": `length` is in epochs, within each of which the rate stays.

    Example:
        >>> from onepass.nets import Staircase, Warmup
        >>> schedule = Warmup(5, per="epoch").then(Staircase(0.1, factor=0.1, every=30))
        >>> [round(schedule(epoch, 1), 3) for epoch in (0, 1, 2, 3, 4, 5, 34, 35)]
        [0.02, 0.036, 0.052, 0.068, 0.084, 0.1, 0.1, 0.01]

    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD, section 2.2.
    """

    length: int

    def __init__(
        self,
        length: int,
        lr: float | None = None,
        start: float | None = None,
        per: str = "step",
    ) -> None:
        self.length = count("length", length)
        self.lr = None if lr is None else positive("lr", lr)
        self.start = None if start is None else non_negative("start", start)
        self.per = UNIT("per", per)

    def rate(self, epoch: int, step: int) -> float:
        if self.lr is None:
            raise ValueError(
                f"{self!r} has no rate to rise to; expected lr=, or a schedule that follows it, "
                "such as Warmup(500).then(Cosine(0.1, 10_000))"
            )
        part = min(self.done(epoch, step) / self.length, 1.0)
        start = self.lr / self.length if self.start is None else self.start
        return between(start, self.lr, straight(part))

    def leading_to(self, following: Schedule) -> Schedule:
        if self.lr is not None:
            return self
        found = copy(self)
        found.lr = positive(f"the first rate of {following!r}", following(0, 1))
        return found
