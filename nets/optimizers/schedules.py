"""Learning-rate schedules: a rate for each epoch or each mini-batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from math import sqrt
from numbers import Integral
from typing import Any, TypeAlias

from ...backend.checks.numbers import count, fraction, non_negative, one_of, positive, step_number

Milestones: TypeAlias = Mapping[int, float] | Sequence[tuple[int, float] | list[Any]]
"""Epoch -> rate from that epoch on, or a list of such pairs."""


class Schedule(ABC):
    """A learning rate for each update: `schedule(epoch, step) -> lr`, as `fit` calls it.

    Args of the call:
        epoch: the running epoch, counted from 0.
        step: the mini-batch, counted from 1 over all epochs: the update that is about to be made.

    A schedule keeps no state, so that a run that is taken up again has the rates it would have
    had. `config()` is what rebuilds it, as JSON has it; `schedule_from` does so.

    Raises:
        TypeError: an epoch, a step or an argument is no number of its kind.
        ValueError: one is out of its range.
    """

    def __call__(self, epoch: int, step: int) -> float:
        if not isinstance(epoch, Integral) or isinstance(epoch, bool):
            raise TypeError(f"epoch is {epoch!r} ({type(epoch).__name__}); expected an integer")
        if epoch < 0:
            raise ValueError(f"epoch is {epoch!r}; expected 0 in the first epoch, then 1, 2, ...")
        return self.rate(int(epoch), step_number("step", step))

    @abstractmethod
    def rate(self, epoch: int, step: int) -> float:
        """The formula."""

    def config(self) -> dict[str, Any]:
        """{"type": name of the class, argument: value, ...}, all of them JSON's own types."""
        return {"type": type(self).__name__, **vars(self)}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({shown})"


class InverseTimeDecay(Schedule):
    """lr = lr0 / (1 + decay * epoch).

    Args:
        lr0: the rate of the first epoch, > 0.
        decay: how fast it falls, >= 0: after 1 / decay epochs it is half of lr0.

    Example:
        >>> schedule = InverseTimeDecay(0.2, decay=1.0)
        >>> [round(schedule(epoch, 1), 3) for epoch in range(4)]
        [0.2, 0.1, 0.067, 0.05]
    """

    def __init__(self, lr0: float, decay: float) -> None:
        self.lr0 = positive("lr0", lr0)
        self.decay = non_negative("decay", decay)

    def rate(self, epoch: int, step: int) -> float:
        return self.lr0 / (1 + self.decay * epoch)


class ExponentialDecay(Schedule):
    """lr = lr0 * base^epoch.

    Args:
        lr0: the rate of the first epoch, > 0.
        base: in (0, 1].
    """

    def __init__(self, lr0: float, base: float = 0.95) -> None:
        self.lr0 = positive("lr0", lr0)
        self.base = _factor("base", base)

    def rate(self, epoch: int, step: int) -> float:
        return float(self.lr0 * self.base**epoch)


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
        self.per: str = one_of("epoch", "step")("per", per)

    def rate(self, epoch: int, step: int) -> float:
        return self.lr0 * self.k / sqrt(epoch + 1 if self.per == "epoch" else step)


class Staircase(Schedule):
    """lr = lr0 * factor^floor(epoch / every): constant, then lower, in stairs.

    Args:
        lr0: the rate of the first `every` epochs, > 0.
        factor: of every drop, in (0, 1].
        every: epochs from one drop to the next, at least 1.
    """

    def __init__(self, lr0: float, factor: float = 0.5, every: int = 10) -> None:
        self.lr0 = positive("lr0", lr0)
        self.factor = _factor("factor", factor)
        self.every = count("every", every)

    def rate(self, epoch: int, step: int) -> float:
        return float(self.lr0 * self.factor ** (epoch // self.every))


class Manual(Schedule):
    """Rates set by hand: milestones, or any function of (epoch, step).

    Args:
        rates: epoch -> rate from that epoch on, as a mapping or a list of pairs, with one for
            epoch 0; or a callable that returns the rate, a finite number >= 0, which is checked
            whenever it is called. Only milestones can be saved.

    Example:
        >>> schedule = Manual({0: 0.1, 20: 0.01})
        >>> schedule(19, 1), schedule(20, 1)
        (0.1, 0.01)
    """

    def __init__(self, rates: Milestones | Callable[[int, int], float]) -> None:
        self.rates: Any = rates if callable(rates) else _milestones(rates)

    def rate(self, epoch: int, step: int) -> float:
        if callable(self.rates):
            name = f"the rate of epoch {epoch}, step {step}"
            return non_negative(name, self.rates(epoch, step))
        return float([lr for start, lr in self.rates if start <= epoch][-1])

    def config(self) -> dict[str, Any]:
        """{"type": "Manual", "rates": [[epoch, rate], ...]}; TypeError where a function is held."""
        if callable(self.rates):
            raise TypeError(
                f"{self!r} holds a function, which can't be saved; expected milestones such as "
                "Manual({0: 0.1, 20: 0.01}). Or save without the schedule and hand it to fit again"
            )
        return {"type": type(self).__name__, "rates": [list(pair) for pair in self.rates]}


SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind
    for kind in (InverseTimeDecay, ExponentialDecay, InverseSqrtDecay, Staircase, Manual)
}


def schedule_from(config: Mapping[str, Any]) -> Schedule:
    """The schedule that `config()` tells of; arguments that have a default may be left out.

    Raises:
        TypeError: `config` is no mapping, or an argument is of another type.
        ValueError: the type is unknown, an argument is missing, unknown or out of its range.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config is a {type(config).__name__}; expected a mapping")
    name = config.get("type")
    if name not in SCHEDULES:
        raise ValueError(f"type of the schedule is {name!r}; expected one of {list(SCHEDULES)}")
    arguments = {key: value for key, value in config.items() if key != "type"}
    takes = signature(SCHEDULES[name])
    try:
        takes.bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"arguments of {name} are {list(arguments)} ({error}); expected {[*takes.parameters]}"
        ) from error
    return SCHEDULES[name](**arguments)


def _factor(name: str, value: float) -> float:
    if not (number := fraction(name, value)):
        raise ValueError(f"{name} is {value!r}; expected a number in (0, 1], such as 0.95")
    return number


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
