"""Rates set by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, TypeAlias

from ....backend.checks.numbers import non_negative
from .schedule import UNIT, Schedule

Milestones: TypeAlias = Mapping[int, float] | Sequence[tuple[int, float] | list[Any]]
"""Epoch -> rate from that epoch on, or a list of such pairs."""


class Manual(Schedule):
    """Rates set by hand: milestones, or any function of (epoch, step).

    Args:
        rates: epoch -> rate from that epoch on, as a mapping or a list of pairs, with one for
            epoch 0; or a callable that returns the rate, a finite number >= 0, which is checked
            whenever it is called. Only milestones can be saved.
        per: "epoch", or "step": the milestones are mini-batches, counted from 0. Of a function
            that follows another schedule, `per` counts from its own start.

    Example:
        >>> schedule = Manual({0: 0.1, 20: 0.01})
        >>> schedule(19, 1), schedule(20, 1)
        (0.1, 0.01)
    """

    def __init__(self, rates: Milestones | Callable[[int, int], float], per: str = "epoch") -> None:
        self.rates: Any = rates if callable(rates) else _milestones(rates)
        self.per = UNIT("per", per)

    def rate(self, epoch: int, step: int) -> float:
        if callable(self.rates):
            name = f"the rate of epoch {epoch}, step {step}"
            return non_negative(name, self.rates(epoch, step))
        t = self.done(epoch, step)
        return float([lr for start, lr in self.rates if start <= t][-1])

    def config(self) -> dict[str, Any]:
        """{"type": "Manual", "rates": [[epoch, rate], ...], "per": ...}; TypeError where a function
        is held."""
        if callable(self.rates):
            raise TypeError(
                f"{self!r} holds a function, which can't be saved; expected milestones such as "
                "Manual({0: 0.1, 20: 0.01}). Or save without the schedule and hand it to fit again"
            )
        return super().config() | {"rates": [list(pair) for pair in self.rates]}


def _milestones(rates: Any) -> list[list[Any]]:
    """[[epoch, rate], ...] in the order of the epochs."""
    if not isinstance(rates, (Mapping, Sequence)):
        raise TypeError(
            f"rates is a {type(rates).__name__}; expected milestones such as {{0: 0.1, 20: 0.01}}, "
            "or a function of (epoch, step)"
        )
    found: dict[int, float] = {}
    for pair in rates.items() if isinstance(rates, Mapping) else rates:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"rates holds {pair!r}; expected pairs (epoch, rate)")
        epoch, rate = pair
        if not isinstance(epoch, Integral) or isinstance(epoch, bool) or epoch < 0:
            raise ValueError(f"rates holds the epoch {epoch!r}; expected integers from 0 on")
        if int(epoch) in found:
            raise ValueError(f"rates holds epoch {epoch} twice; expected it once")
        found[int(epoch)] = non_negative(f"the rate from epoch {epoch} on", rate)
    if 0 not in found:
        raise ValueError(f"rates is {rates!r}; expected a rate for epoch 0 too, which comes first")
    return [[epoch, found[epoch]] for epoch in sorted(found)]
