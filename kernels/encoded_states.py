"""States in 16 and 8 bits, and parameters in two halves, as optimizers step many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, TypeAlias

from ..backend import Array
from ..backend.checks.overlap import any_overlap
from ..backend.failures import Explained
from .engine_table import Kept
from .groups import groups_of, of_group
from .rule import Prepared as Prepared
from .rule import Rule
from .rules import RULES
from .state_formats.base import Step
from .state_formats.contract import Call as Call
from .state_formats.contract import checked
from .state_formats.formats import as_bfloat16, bits_of
from .state_formats.formats import check_format as check_format
from .state_formats.formats import format_of as format_of
from .state_formats.formats import is_bfloat16 as is_bfloat16
from .state_formats.formats import seen_as_bits as seen_as_bits
from .state_formats.layout import BFLOAT16
from .state_formats.layout import EIGHT_BIT as EIGHT_BIT
from .state_formats.layout import FLOAT32 as FLOAT32
from .state_formats.noise import keys_of as keys_of
from .state_formats.state8bit import State8bit
from .state_formats.state8bit import checked_block_size as checked_block_size
from .state_formats.step import engine_for

Names: TypeAlias = Callable[[int], Sequence[str]]


def moved(state: Any, move: Callable[[Array], Array]) -> Any:
    """A state of any format whose arrays `move` has taken elsewhere; None stays None."""
    if isinstance(state, State8bit):
        return state.on(move(state.codes), move(state.scales))
    if state is None or not is_bfloat16(state):
        return None if state is None else move(state)
    return as_bfloat16(move(bits_of(state)))


def unsigned_states() -> frozenset[str]:
    """The states of all rules that are never negative."""
    return frozenset(name for rule in RULES.values() for name in rule.unsigned)


Halves: TypeAlias = Sequence[Any]
"""The remainder of each parameter, or None for those in float32."""


def calls_of(
    rule: Rule, columns: Sequence[Sequence[Any]], halves: Halves, names: Names, kept: Kept
) -> list[Call]:
    """The checked calls of many arrays: all params, all grads, and all of each state.

    Arrays that are the very objects of the last step are not looked at again.

    Args:
        names: what errors call the arrays of a call, by its number.
        kept: of the last step; written.

    Raises:
        TypeError, ValueError, MixedBackendsError: arrays are not fit, or those of different calls
            share memory.
    """
    last: Last | None = kept.bundle if isinstance(kept.bundle, Last) else None
    given = [*zip(*columns, halves, strict=True)]
    if last is not None and last.rule is rule and len(last.given) == len(given):
        calls = [
            call if all(map(is_, now, before)) else checked(rule, now[:-1], now[-1], names(k))
            for k, (now, before, call) in enumerate(zip(given, last.given, last.calls, strict=True))
        ]
        if all(map(is_, calls, last.calls)):
            return calls
    else:
        last = Last(rule)
        calls = [checked(rule, now[:-1], now[-1], names(k)) for k, now in enumerate(given)]
    _check_apart(calls, names)
    last.given, last.calls = given, calls
    kept.bundle = last
    return calls


class Last:
    """What a step leaves for the next one of the same arrays: as given, as calls, and what engines
    keep of them."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.given: list[tuple[Any, ...]] = []
        self.calls: list[Call] = []
        self.of_engine: dict[str, Any] = {}


def step_all(
    prepared: Prepared, calls: Sequence[Call], engine: str, noise: tuple[int, int], kept: Kept
) -> None:
    """The steps of these calls, as `calls_of` made them: all of them, or none.

    Args:
        prepared: for one group of calls, or `joined` for those that `kept.groups` tells of.
        noise: its seed, and the number of the step.
    """
    groups = kept.groups.tolist() or [0] * len(calls)
    of = [of_group(prepared, group)[1] for group in range(groups_of(prepared))]
    full = [k for k, call in enumerate(calls) if call.param.size]
    if full:
        first = calls[full[0]]
        chosen = engine_for(first, engine)
        keys = keys_of(*noise, len(calls))
        steps = [Step(calls[k], of[groups[k]], keys[k]) for k in full]
        with Explained(prepared[0].name, first.param, chosen.name):
            chosen.run(steps, kept.bundle.of_engine)


def _check_apart(calls: Sequence[Call], names: Names) -> None:
    """Raise ValueError where a call writes what another reads or writes."""
    written: list[tuple[str, Any]] = []
    read: list[tuple[str, Any]] = []
    for k, call in enumerate(calls):
        grad = 2 if call.layout.param == BFLOAT16 else 1
        for place, array in enumerate(call.arrays):
            (read if place == grad else written).append((names(k)[min(place, 1)], array))
    ordered = [*written, *read]
    arrays = [array for _, array in ordered]
    if pair := any_overlap([name for name, _ in ordered], arrays, len(written)):
        raise ValueError(
            f"{pair[0]} and {pair[1]} (or their states) overlap in memory; expected separate "
            "arrays, since one is written before the other is read. Pass a copy"
        )
