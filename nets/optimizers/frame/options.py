"""Options of an optimizer that its kernel does not take: clipping, and averages of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from ....backend.checks.numbers import count, decay_rate, finite_number, flag

T = TypeVar("T")


def bound(name: str, value: Any) -> float | None:
    """None, for no bound, or a finite number above 0."""
    if value is None:
        return None
    if (number := finite_number(name, value)) <= 0:
        raise ValueError(f"{name} is {value!r}; expected None or a finite number > 0")
    return number


def start(name: str, value: Any) -> int | None:
    """None, or the number of a step, from 1."""
    return None if value is None else count(name, value)


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "clip_norm": bound,
    "clip_each_norm": bound,
    "clip_value": bound,
    "use_ema": flag,
    "ema_momentum": decay_rate,
    "swa_start": start,
    "swa_every": count,
}
DEFAULTS: Mapping[str, Any] = {
    "clip_norm": None,
    "clip_each_norm": None,
    "clip_value": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "swa_start": None,
    "swa_every": 1,
}
"""Of options that are left out, by whoever makes an optimizer and by older checkpoints."""


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, each fit, and fit for the others.

    Raises:
        TypeError, ValueError: one is not; it is named.
    """
    found = {name: CHECKS[name](name, value) for name, value in options.items()}
    for name, needed, there in (
        ("ema_momentum", "use_ema=True", found["use_ema"]),
        ("swa_every", "swa_start", found["swa_start"] is not None),
    ):
        if found[name] != DEFAULTS[name] and not there:
            raise ValueError(f"{name} is {found[name]!r} without an average; expected {needed} too")
    if found["use_ema"] and found["swa_start"] is not None:
        raise ValueError(
            f"use_ema is True and swa_start is {found['swa_start']}; expected one average, so "
            "leave one of them out"
        )
    return found


def averages(options: Mapping[str, Any]) -> bool:
    """Whether an average of weights is kept."""
    return bool(options["use_ema"]) or options["swa_start"] is not None


def average_coefficients(options: Mapping[str, Any], step: int) -> tuple[float, float]:
    """(hold, take) of that step: the average becomes hold * average + take * the new parameters.

    The exponential one is m average + (1 - m) p, and begins with the parameters of the first step.
    The other is the mean of those of steps `swa_start`, `swa_start + swa_every`, ...; before them
    it is the parameters themselves.

    Source: Polyak and Juditsky 1992; Izmailov et al. 2018, "Averaging weights leads to wider
        optima", algorithm 1.
    """
    if step == 1:
        return 0.0, 1.0
    if options["use_ema"]:
        momentum = options["ema_momentum"]
        return momentum, 1.0 - momentum
    since = step - options["swa_start"]
    if since < 0:
        return 0.0, 1.0
    if since % options["swa_every"]:
        return 1.0, 0.0
    number = since // options["swa_every"] + 1
    return 1.0 - 1.0 / number, 1.0 / number


class Settable(Protocol):
    """What has options: it keeps them in `options`, and checks what is set."""

    @property
    def options(self) -> Mapping[str, Any]: ...

    def set_options(self, **changes: Any) -> None: ...


class Option(Generic[T]):
    """An attribute of an optimizer that is checked whenever it is set."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, optimizer: None, owner: type) -> Self: ...

    @overload
    def __get__(self, optimizer: Settable, owner: type) -> T: ...

    def __get__(self, optimizer: Settable | None, owner: type) -> T | Self:
        if optimizer is None:
            return self
        value: T = optimizer.options[self.name]
        return value

    def __set__(self, optimizer: Settable, value: T) -> None:
        optimizer.set_options(**{self.name: value})
