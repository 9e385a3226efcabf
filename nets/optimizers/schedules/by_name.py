"""Schedules by name, and out of the configs that checkpoints hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from math import ceil
from typing import Any

from ....backend.checks.numbers import count
from .annealing import Cosine, LinearDecay, Polynomial
from .decays import ExponentialDecay, InverseSqrtDecay, InverseTimeDecay, Staircase
from .manual import Manual
from .one_cycle import OneCycle
from .restarts import CosineRestarts
from .schedule import Chain, Schedule
from .warmup import Warmup

SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind
    for kind in (
        InverseTimeDecay, ExponentialDecay, InverseSqrtDecay, Staircase, Manual,
        LinearDecay, Polynomial, Cosine, CosineRestarts, OneCycle, Warmup, Chain,
    )
}  # fmt: skip
"""The schedules that `load` knows. For one of your own: SCHEDULES["Mine"] = Mine."""

WHOLE: dict[str, Callable[[float, int], Schedule]] = {
    "cosine": Cosine,
    "linear": LinearDecay,
    "one-cycle": OneCycle,
}
"""Those that a training can have by name: of its highest rate and its number of mini-batches."""


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
    arguments = {key: _parts(value) for key, value in config.items() if key != "type"}
    takes = signature(SCHEDULES[name])
    try:
        takes.bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"arguments of {name} are {list(arguments)} ({error}); expected {[*takes.parameters]}"
        ) from error
    return SCHEDULES[name](**arguments)


def schedule_by_name(
    name: str | None,
    lr: float,
    samples: int,
    batch_size: int,
    epochs: int,
    warmup: int | None = None,
) -> Schedule | None:
    """The schedule of a whole training, for the command line and for estimators; None of None.

    Args:
        name: "cosine" or "linear", from lr to 0; "one-cycle", up to lr and down to almost 0.
        lr: the highest rate.
        samples, batch_size, epochs: of the training, which tell how many mini-batches it has.
        warmup: mini-batches in which the rate rises to lr first; None: none.

    Raises:
        TypeError, ValueError: the name is none of these, a number is out of its range, or the
            warm-up is not shorter than the training, or has no schedule that it leads to.
    """
    if name is None and warmup is None:
        return None
    if not isinstance(name, str) or name not in WHOLE:
        given = "is None beside a warm-up" if name is None else f"is {name!r}"
        raise ValueError(f"schedule {given}; expected {', '.join(map(repr, WHOLE))}")
    length = count("epochs", epochs) * ceil(samples / count("batch_size", batch_size))
    if warmup is None:
        return WHOLE[name](lr, length)
    if name == "one-cycle":
        raise ValueError(f"warmup is {warmup!r}; expected None of 'one-cycle', which has its own")
    if count("warmup", warmup) >= length:
        raise ValueError(
            f"warmup is {warmup!r}; expected less than the {length} mini-batches of the training"
        )
    return Warmup(warmup).then(WHOLE[name](lr, length - warmup))


def highest(name: str | None, warmup: int | None) -> str:
    """What a report says after the rate of a schedule by name; "" of none."""
    first = "" if warmup is None else f", {warmup} mini-batches of warm-up"
    return "" if name is None else f" at most ({name}{first})"


def _parts(value: Any) -> Any:
    """An argument, schedules made of what a list of it holds as their configs."""
    if isinstance(value, list):
        return [schedule_from(each) if isinstance(each, Mapping) else each for each in value]
    return value
