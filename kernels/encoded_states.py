"""States in 16 and 8 bits, and parameters in two halves, as optimizers step many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, NamedTuple, TypeAlias
from weakref import ref

from numpy import float32, ndarray

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
from .state_formats.layout import BFLOAT16, Layout
from .state_formats.layout import EIGHT_BIT as EIGHT_BIT
from .state_formats.layout import FLOAT32 as FLOAT32
from .state_formats.noise import keys_of as keys_of
from .state_formats.state8bit import State8bit
from .state_formats.state8bit import check_parts as check_parts
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


class Kind(NamedTuple):
    """What a call has from step to step: all but its gradient, which is not kept alive: whoever
    makes new ones each step needs their memory again.

    Attributes:
        given: the very objects, as columns and halves have them.
        grad: finds the last gradient, if it is on a GPU and there still.
        before, after: the arrays of the layout that come before the gradient, and after it.
    """

    given: tuple[Any, ...]
    grad: Callable[[], Any]
    layout: Layout
    before: tuple[Array, ...]
    after: tuple[Array, ...]
    block: int

    def call(self, grad: Array) -> Call:
        """With this gradient."""
        bits = bits_of(grad) if is_bfloat16(grad) else grad
        return Call(self.layout, (*self.before, bits, *self.after), self.block)


class Last:
    """What a step leaves for the next one of the same arrays."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.kinds: list[Kind] = []
        self.of_engine: dict[str, Any] = {}


def check_calls(
    rule: Rule, columns: Sequence[Sequence[Any]], halves: Halves, names: Names
) -> list[Call]:
    """The calls of many arrays, all of which are looked at.

    Args:
        columns: all params, all grads, and all of each state.
        names: what errors call the arrays of a call, by its number.

    Raises:
        TypeError, ValueError, MixedBackendsError: arrays are not fit, or those of different calls
            share memory.
    """
    given = [*zip(*columns, halves, strict=True)]
    calls = [checked(rule, now[:-1], now[-1], names(k)) for k, now in enumerate(given)]
    _check_apart(calls, names)
    return calls


def _calls_of(
    rule: Rule, columns: Sequence[Sequence[Any]], halves: Halves, names: Names, kept: Kept,
    looks: bool,
) -> list[Call]:  # fmt: skip
    """`check_calls`, which leaves out what was looked at in the last step, if it is the same: on a
    GPU the very objects; on the CPU nothing but what the engine `looks` at anew before it writes.
    """
    last = kept.bundle if isinstance(kept.bundle, Last) and kept.bundle.rule is rule else None
    if last is None or len(last.kinds) != len(columns[0]):
        last = Last(rule)
    calls, kinds, new = [], [], False
    for k, (param, grad, *rest) in enumerate(zip(*columns, halves, strict=True)):
        kind = last.kinds[k] if last.kinds else None
        if kind is not None and all(map(is_, (param, *rest), kind.given)):
            on_gpu = type(param) is not ndarray and kind.grad() is grad
            if on_gpu or (looks and _is_like(kind, grad)):
                calls.append(kind.call(grad))
                kinds.append(kind)
                continue
        new = True
        call = checked(rule, (param, grad, *rest[:-1]), rest[-1], names(k))
        at = 2 if call.layout.param == BFLOAT16 else 1
        before, after = call.arrays[:at], call.arrays[at + 1 :]
        calls.append(call)
        found = _nothing if type(grad) is ndarray else ref(grad)
        kinds.append(Kind((param, *rest), found, call.layout, before, after, call.block))
    if new and not looks:
        _check_apart(calls, names)
    last.kinds, kept.bundle = kinds, last
    return calls


def _nothing() -> None:
    return None


def _is_like(kind: Kind, grad: Any) -> bool:
    """Whether a gradient is an array of the kind's format; compiled code looks at the rest."""
    if type(grad) is not ndarray or not grad.flags.c_contiguous:
        return False
    return is_bfloat16(grad) if kind.layout.grad == BFLOAT16 else grad.dtype == float32


def step_all(
    prepared: Prepared,
    columns: Sequence[Sequence[Any]],
    halves: Halves,
    names: Names,
    engine: str,
    noise: tuple[int, int],
    kept: Kept,
) -> None:
    """The steps of many calls: all of them, or none.

    Args:
        prepared: for one group of calls, or `joined` for those that `kept.groups` tells of.
        columns, halves, names: as `check_calls` takes them.
        noise: its seed, and the number of the step.

    Raises:
        TypeError, ValueError, MixedBackendsError: as `check_calls`; nothing was written.
    """
    if not columns[0]:
        return
    chosen = engine_for(columns[0][0], engine)
    calls = _calls_of(prepared[0], columns, halves, names, kept, chosen.looks)
    groups = kept.groups.tolist() or [0] * len(calls)
    of = [of_group(prepared, group)[1] for group in range(groups_of(prepared))]
    keys = keys_of(*noise, len(calls))
    full = [k for k, call in enumerate(calls) if call.param.size]
    if full:
        steps = [Step(calls[k], of[groups[k]], keys[k]) for k in full]
        with Explained(prepared[0].name, calls[full[0]].param, chosen.name):
            fits = chosen.run(steps, kept.bundle.of_engine)
        if not fits:  # the checks tell why; where they don't, it goes by array expressions
            calls = check_calls(prepared[0], columns, halves, names)
            steps = [step._replace(call=calls[k]) for k, step in zip(full, steps, strict=True)]
            engine_for(columns[0][0], "array").run(steps, {})


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
