"""One cycle: up to a high rate, and down to a very low one."""

from __future__ import annotations

from ....backend.checks.numbers import count, flag, fraction, one_of, positive
from .annealing import between, cosine, straight
from .schedule import UNIT, Schedule

COURSES = {"cos": cosine, "linear": straight}


class OneCycle(Schedule):
    """lr: max_lr / div_factor, up to max_lr, and down to a small part of where it started.

        first = max_lr / div_factor       last = first / final_div_factor       N = length
        two phases:    first -> max_lr until t = pct_start N - 1, -> last until t = N - 1
        three phases:  first -> max_lr until t = pct_start N - 1, -> first until t = 2 pct_start N
                       - 2, -> last until t = N - 1

    t counts mini-batches (or epochs) from 0, so that, other than with `Cosine`, the last one of
    `length` has the rate `last`, which then stays. This is PyTorch's OneCycleLR (arguments and
    defaults are its own, total_steps is `length`) but for its cycled momentum: the optimizer's
    stays as it is. optax' cosine_onecycle_schedule gets to max_lr and `last` one step later.

    Args:
        max_lr: the highest rate, > 0.
        length: mini-batches of the cycle, at least 1: of the whole training.
        pct_start: the share (not a percentage) of them in which the rate rises, in [0, 1]; of three
            phases, in [0, 0.5].
        anneal_strategy: "cos", half a wave, or "linear".
        div_factor, final_div_factor: > 0, see above.
        three_phase: fall as long as it rose, and then to `last`, as the paper has it.
        per: "step", or "epoch": `length` is in epochs.

    Example:
        >>> from onepass.nets import OneCycle
        >>> schedule = OneCycle(0.1, 10, anneal_strategy="linear")
        >>> [round(schedule(0, step), 4) for step in range(1, 12)]
        [0.004, 0.052, 0.1, 0.0857, 0.0714, 0.0571, 0.0429, 0.0286, 0.0143, 0.0, 0.0]

    Source: Smith and Topin 2018, Super-Convergence.
    """

    length: int

    def __init__(
        self,
        max_lr: float,
        length: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        per: str = "step",
    ) -> None:
        self.max_lr = positive("max_lr", max_lr)
        self.length = count("length", length)
        self.pct_start = fraction("pct_start", pct_start)
        self.anneal_strategy = one_of(*COURSES)("anneal_strategy", anneal_strategy)
        self.div_factor = positive("div_factor", div_factor)
        self.final_div_factor = positive("final_div_factor", final_div_factor)
        self.three_phase = flag("three_phase", three_phase)
        self.per = UNIT("per", per)
        if self.three_phase and self.pct_start > 0.5:
            raise ValueError(
                f"pct_start is {pct_start!r}; expected at most 0.5 of three phases, of which the "
                "second is as long as the first"
            )

    def rate(self, epoch: int, step: int) -> float:
        t = min(self.done(epoch, step), self.length - 1)
        start, rate = 0.0, self.max_lr / self.div_factor
        for end, goal in self._phases():
            if t <= end:
                part = (t - start) / (end - start) if end > start else 1.0
                return between(rate, goal, COURSES[self.anneal_strategy](part))
            start, rate = end, goal
        return rate

    def _phases(self) -> list[tuple[float, float]]:
        """t at the end of each phase, and the rate there."""
        first = self.max_lr / self.div_factor
        up = self.pct_start * self.length - 1
        down = [(2 * up, first)] if self.three_phase else []
        return [(up, self.max_lr), *down, (self.length - 1.0, first / self.final_div_factor)]
