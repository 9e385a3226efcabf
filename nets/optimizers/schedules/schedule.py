"""What all schedules share, and schedules one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

from ....backend.checks.numbers import count, one_of, step_number

UNIT = one_of("epoch", "step")
"""The check of `per`."""


class Schedule(ABC):
    """A learning rate for each update: `schedule(epoch, step) -> lr`, as `fit` calls it.

    Args of the call:
        epoch: the running epoch, counted from 0.
        step: the mini-batch, counted from 1 over all epochs: the update that is about to be made.

    A schedule keeps no state, so that a run that is taken up again has the rates it would have
    had. `config()` is what rebuilds it, as JSON has it; `schedule_from` does so. `then` has another
    one follow.

    Attributes:
        per: what it counts, "epoch" or "step" (mini-batches).
        length: epochs or steps after which it is done, and its last rate stays; None: never.

    Raises:
        TypeError: an epoch, a step or an argument is no number of its kind.
        ValueError: one is out of its range.
    """

    per: str = "epoch"
    length: int | None = None

    def __call__(self, epoch: int, step: int) -> float:
        if not isinstance(epoch, Integral) or isinstance(epoch, bool):
            raise TypeError(f"epoch is {epoch!r} ({type(epoch).__name__}); expected an integer")
        if epoch < 0:
            raise ValueError(f"epoch is {epoch!r}; expected 0 in the first epoch, then 1, 2, ...")
        return self.rate(int(epoch), step_number("step", step))

    @abstractmethod
    def rate(self, epoch: int, step: int) -> float:
        """The formula."""

    def done(self, epoch: int, step: int) -> int:
        """How many of what it counts lie before this update: t of the formulas, from 0."""
        return epoch if self.per == "epoch" else step - 1

    def then(self, following: Schedule, at: int | None = None) -> Chain:
        """This schedule, and after it another one, which counts from its own start.

        Args:
            following: of the same `per`.
            at: epochs or steps before it starts; None: the `length` of this one.

        Example:
            >>> from onepass.nets import Cosine, Warmup
            >>> schedule = Warmup(4).then(Cosine(0.1, 8))
            >>> [round(schedule(0, step), 3) for step in range(1, 14)]
            [0.025, 0.044, 0.062, 0.081, 0.1, 0.096, 0.085, 0.069, 0.05, 0.031, 0.015, 0.004, 0.0]
        """
        return Chain([self, following], None if at is None else [at])

    def leading_to(self, following: Schedule) -> Schedule:
        """What it is where `following` comes next: itself, but for a warm-up that rises to it."""
        return self

    def config(self) -> dict[str, Any]:
        """{"type": name of the class, argument: value, ...}, all of them JSON's own types."""
        return {"type": type(self).__name__, **self.arguments()}

    def arguments(self) -> dict[str, Any]:
        """What it was made of, by name."""
        return vars(self)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.arguments().items())
        return f"{type(self).__name__}({shown})"


class Chain(Schedule):
    """Schedules one after another, each counting from its own start.

    As PyTorch's SequentialLR has it, and optax' join_schedules. `first.then(second)` is the same as
    `Chain([first, second])`. All count the same, epochs or steps: where mini-batches end amid an
    epoch, no one could tell which epoch is the first of a schedule that counts those.

    Args:
        schedules: two or more.
        milestones: the epochs or steps, counted from 0, at which the second one starts, the third,
            ...; None: each where the one before is done. One that is not done is left as it is
            there; of one that is done before, the last rate stays until then.

    Example:
        >>> from onepass.nets import Chain, LinearDecay, Staircase
        >>> schedule = Chain(
        ...     [LinearDecay(0.1, 2, end=0.3, per="epoch"), Staircase(0.3, every=2)]
        ... )
        >>> [round(schedule(epoch, 1), 3) for epoch in range(7)]
        [0.1, 0.2, 0.3, 0.3, 0.15, 0.15, 0.075]
    """

    def __init__(
        self, schedules: Sequence[Schedule], milestones: Sequence[int] | None = None
    ) -> None:
        given = _several(schedules)
        self.per = given[0].per
        ends = _ends(given) if milestones is None else _rising(milestones, len(given) - 1)
        self.schedules = [
            *(one.leading_to(following) for one, following in pairwise(given)), given[-1]
        ]  # fmt: skip
        self.milestones = ends
        last = given[-1].length
        self.length = None if last is None else ends[-1] + last

    def rate(self, epoch: int, step: int) -> float:
        place = bisect_right(self.milestones, self.done(epoch, step))
        start = self.milestones[place - 1] if place else 0
        if self.per == "epoch":
            return self.schedules[place].rate(epoch - start, step)
        return self.schedules[place].rate(epoch, step - start)

    def then(self, following: Schedule, at: int | None = None) -> Chain:
        """With one more; `at` counts from the start of the chain, as `milestones` do."""
        if at is None:
            at = _end(self.schedules[-1], self.milestones[-1])
        return Chain([*self.schedules, following], [*self.milestones, at])

    def config(self) -> dict[str, Any]:
        """With the config of each; TypeError where one can't be saved."""
        return {
            "type": type(self).__name__,
            "schedules": [schedule.config() for schedule in self.schedules],
            "milestones": [*self.milestones],
        }

    def arguments(self) -> dict[str, Any]:
        return {"schedules": self.schedules, "milestones": self.milestones}


def _several(given: Any) -> list[Schedule]:
    """Two schedules or more, which count the same."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TypeError(f"schedules is a {type(given).__name__}; expected a list of schedules")
    if len(given) < 2:
        raise ValueError(f"schedules is {given!r}; expected two or more")
    for one in given:
        if not isinstance(one, Schedule):
            raise TypeError(
                f"schedules holds {one!r}; expected Schedules, such as Cosine(0.1, 1000), or "
                "Manual(function)"
            )
        if one.per != given[0].per:
            raise ValueError(
                f"{given[0]!r} counts each {given[0].per}, and {one!r} each {one.per}; expected "
                "the same per= for all of a chain"
            )
    return list(given)


def _ends(schedules: Sequence[Schedule]) -> list[int]:
    """Where each but the last is done, counted from the start of the first."""
    ends = [0]
    for one in schedules[:-1]:
        ends.append(_end(one, ends[-1]))
    return ends[1:]


def _end(schedule: Schedule, start: int) -> int:
    if schedule.length is None:
        raise ValueError(
            f"{schedule!r} has no end at which another could start; expected then(..., at=30), or "
            "Chain with milestones"
        )
    return start + schedule.length


def _rising(milestones: Any, expected: int) -> list[int]:
    if not isinstance(milestones, Sequence) or isinstance(milestones, str):
        raise TypeError(
            f"milestones is a {type(milestones).__name__}; expected a list of epochs or steps"
        )
    found = [count("a milestone", each) for each in milestones]
    if len(found) != expected:
        raise ValueError(
            f"milestones is {milestones!r}; expected {expected}, one less than there are schedules"
        )
    if any(later <= sooner for sooner, later in pairwise(found)):
        raise ValueError(f"milestones is {milestones!r}; expected each larger than the one before")
    return found
