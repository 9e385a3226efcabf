"""Schedules by name, and out of the configs that checkpoints hold."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

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


def _parts(value: Any) -> Any:
    """An argument, schedules made of what a list of it holds as their configs."""
    if isinstance(value, list):
        return [schedule_from(each) if isinstance(each, Mapping) else each for each in value]
    return value
