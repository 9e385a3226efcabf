"""The states of an optimizer in 16 and 8 bits, and parameters in two halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

from .... import kernels
from ....backend.checks.numbers import random_word
from ....kernels.encoded_states import (
    EIGHT_BIT,
    FLOAT32,
    Call,
    Prepared,
    check_calls,
    check_format,
    check_parts,
    checked_block_size,
    format_of,
    is_bfloat16,
    keys_of,
    step_all,
    unsigned_states,
)
from ....kernels.engine_table import Kept
from ....kernels.launch import AVERAGE, norm_of_all
from ...state_checks import check_keys
from ...types import Array
from ..storage.storage import Calls, Key
from . import groups as grouping
from .options import averages

Format: TypeAlias = str | Mapping[str, str]
"""One for all states, or one for each by name."""

REMAINDER = "remainder"
"""Beside the states: the lower halves of bfloat16 parameters."""

NOT_SHARED = (
    "states in 16 or 8 bits are not shared by ranks; expected an optimizer with "
    'state_format="float32"'
)

DEFAULTS: Mapping[str, Any] = {
    "state_format": FLOAT32,
    "state_format_by_name": None,
    "block_size": 256,
    "min_8bit_size": 4096,
    "rounding_seed": 0,
}
"""Of what an optimizer is told about formats."""


class Encoding:
    """Which format each state of each array has; told once, when an optimizer is made.

    Args:
        states: the optimizer's, by name.
        exact: those of them that stay in float32.
        arrays: its parameters.
        options: as DEFAULTS has them.

    Attributes:
        config: the options, for `save`.
        halves: whether some parameter is bfloat16.
        plain: whether everything is in float32, or as the parameters are.
    """

    def __init__(
        self,
        states: Sequence[str],
        exact: Sequence[str],
        arrays: Mapping[Key, Array],
        options: Mapping[str, Any],
    ) -> None:
        self.config: dict[str, Any] = {name: _own(value) for name, value in options.items()}
        self._exact = exact
        self.halves = any(map(is_bfloat16, arrays.values()))
        self._unsigned = unsigned_states()
        self._block = checked_block_size(options["block_size"])
        self._least = _least("min_8bit_size", options["min_8bit_size"])
        self._seed = random_word("rounding_seed", options["rounding_seed"])
        self._sizes = {key: array.size for key, array in arrays.items()}
        common = self._checked("state_format", options["state_format"], states)
        self._chosen: dict[Key, list[Format]] = {key: [common] for key in arrays}
        by_name = options["state_format_by_name"]
        for pattern, value in ({} if by_name is None else _mapping(by_name)).items():
            own = self._checked(f"state_format_by_name[{pattern!r}]", value, states)
            for key in grouping.chosen(arrays, pattern, "state_format_by_name"):
                self._chosen[key].append(own)
        self.plain = not self.halves and all(
            self.format(key, name) == FLOAT32 for key in arrays for name in states
        )
        for key, array in arrays.items() if not self.plain else ():
            if array.dtype != np.float32 and not is_bfloat16(array):
                raise TypeError(
                    f"params[{key!r}] has dtype {array.dtype}; expected float32, or bfloat16, "
                    "where states are in 16 or 8 bits"
                )
            if not array.flags.c_contiguous:
                raise ValueError(
                    f"params[{key!r}] is not one run of memory in C order; expected such an array "
                    "where states are in 16 or 8 bits"
                )

    def format(self, key: Key, state: str) -> str:
        """That of an array's state."""
        if state == AVERAGE or state in self._exact:
            return FLOAT32
        found = FLOAT32
        for own in self._chosen[key]:
            found = own if isinstance(own, str) else own.get(state, found)
        return FLOAT32 if found == EIGHT_BIT and self._sizes[key] < self._least else found

    def _checked(self, what: str, value: Any, states: Sequence[str]) -> Format:
        """A format, or one for some of the states by name."""
        if not isinstance(value, Mapping):
            return check_format(what, value)
        for name, kind in value.items():
            if name not in states or name == AVERAGE:
                own = ", ".join(repr(each) for each in states if each != AVERAGE) or "none"
                raise ValueError(f"{what} has the state {name!r}; expected some of {own}")
            if check_format(f"{what}[{name!r}]", kind) != FLOAT32 and name in self._exact:
                raise ValueError(
                    f"{what}[{name!r}] is {kind!r}; expected 'float32': a difference is taken of "
                    f"{' and '.join(self._exact)}, of which rounding leaves noise"
                )
        return dict(value)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """ValueError where options don't go with what is encoded."""
        if self.halves and averages(options):
            raise ValueError(
                "an average is asked for, and params are bfloat16; expected float32 params beside "
                "use_ema or swa_start"
            )

    def zeros(self, arrays: Mapping[Key, Array], state: str) -> tuple[Any, ...]:
        """A state of zeros, for each array."""
        return tuple(self._zero(key, array, state) for key, array in arrays.items())

    def _zero(self, key: Key, array: Array, state: str) -> Any:
        if state == REMAINDER:
            zeros = kernels.zero_state(array, FLOAT32)
            return kernels.split_param(zeros)[1] if is_bfloat16(array) else None
        kind, signed = self.format(key, state), state not in self._unsigned
        return kernels.zero_state(array, kind, signed=signed, block_size=self._block)

    def taken(self, key: Key, state: str, value: Any) -> Any:
        """A state of a checkpoint in this optimizer's format, as a new one: float32 exactly as it
        is encoded, others rounded to the nearest; one of the same format as it is."""
        if state == REMAINDER:
            return value.copy()
        kind, signed = self.format(key, state), state not in self._unsigned
        alike = format_of(value) == kind
        if alike and kind == EIGHT_BIT:
            alike = (value.block_size, value.signed) == (self._block, signed)
        if alike:
            return value.copy()
        values = kernels.decode_state(value)
        return kernels.encode_state(values, kind, signed=signed, block_size=self._block)

    def step(
        self, prepared: Prepared, calls: Calls, states: Sequence[str], engine: str, step: int
    ) -> None:
        """Take it."""
        noise = self._seed, step
        step_all(prepared, *self._told(calls, states), engine, noise, calls.kept)

    def keys(self, step: int, arrays: int) -> list[int]:
        """Of the noise of a step, one for each array that is stepped."""
        return keys_of(self._seed, step, arrays)

    def calls(self, calls: Calls, rule: Any, states: Sequence[str]) -> list[Call]:
        """The checked calls of a step on these arrays.

        Raises:
            TypeError, ValueError: one is not fit.
        """
        return check_calls(rule, *self._told(calls, states))

    @staticmethod
    def _told(calls: Calls, states: Sequence[str]) -> tuple[Any, Any, Any]:
        """Columns, remainders, and what errors call the arrays of each call."""
        columns: Sequence[Sequence[Any]] = calls.columns
        halves: Sequence[Any] = [None] * len(columns[0])
        if states and states[-1] == REMAINDER:
            *columns, halves = columns
            states = states[:-1]
        keys = calls.keys

        def names(number: int) -> list[str]:
            key = keys[number]
            return [f"params[{key!r}]", f"grads[{key!r}]", *states]

        return columns, halves, names


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(
            f"state_format_by_name is a {type(value).__name__}; expected a mapping such as "
            '{"*.bias": "float32"}'
        )
    return value


def _own(value: Any) -> Any:
    """A copy of an option, of plain dicts."""
    return {key: _own(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _least(name: str, value: Any) -> int:
    """An integer from 0 on."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected an integer >= 0")
    if value < 0:
        raise ValueError(f"{name} is {value!r}; expected an integer >= 0")
    return int(value)


def decoded(arrays: Any, what: str = "") -> Any:
    """A checkpoint's arrays of one state in float32; what is none of a format is left as it is.

    Raises:
        TypeError, ValueError: one in 8 bits is damaged; `what` is what errors call them.
    """
    if not isinstance(arrays, Mapping):
        return arrays
    for key, each in arrays.items():
        if isinstance(each, kernels.State8bit):
            check_parts(f"{what}[{key!r}]", each)
    return {
        key: kernels.decode_state(each)
        if isinstance(each, kernels.State8bit) or is_bfloat16(each)
        else each
        for key, each in arrays.items()
    }


def check_halves_of(found: Any, states: Sequence[str]) -> None:
    """Tell of bfloat16 parameters on one side alone, in a checkpoint or here, what to do.

    Raises:
        ValueError: the lower halves are there, or here, alone.
    """
    if not isinstance(found, Mapping) or (REMAINDER in found) == (REMAINDER in states):
        return
    if REMAINDER in found:
        raise ValueError(
            "state is of bfloat16 parameters with their lower halves, and params are float32; "
            "expected bfloat16. kernels.join_param makes float32 of both: then leave 'remainder'"
        )
    raise ValueError(
        "state is of float32 parameters, and params are bfloat16; expected float32. Add to "
        "state['state'] a 'remainder': by name or index the second of what kernels.split_param "
        "makes of them"
    )


def check_encoded(arrays: Any, params: Mapping[Key, Array], state: str, what: str) -> Any:
    """A checkpoint's arrays of one state, which may have any format.

    Raises:
        TypeError, ValueError: something else is there, keys are others, or a shape is.
    """
    if state == REMAINDER:
        params = {key: array for key, array in params.items() if is_bfloat16(array)}
    check_keys(arrays, params, what)
    for key, param in params.items():
        value, name = arrays[key], f"{what}[{key!r}]"
        if state == REMAINDER and getattr(value, "dtype", None) != np.int16:
            raise TypeError(f"{name} is no array of int16; expected the lower halves of params")
        if not isinstance(value, (np.ndarray, kernels.State8bit)):
            raise TypeError(f"{name} is a {type(value).__name__}; expected a state of some format")
        if value.shape != param.shape:
            raise ValueError(f"{name} has shape {value.shape}; expected {tuple(param.shape)}")
        if isinstance(value, kernels.State8bit):
            check_parts(name, value)
            continue
        if state == REMAINDER or is_bfloat16(value):
            continue
        if value.dtype != np.float32:
            raise TypeError(f"{name} has dtype {value.dtype}; expected float32, or a format")
    return arrays


def norm_of(grads: Sequence[Array], engine: str) -> float:
    """The norm of gradients, of which some may be bfloat16: these are decoded one by one."""
    norms = [kernels.global_norm(kernels.decode_state(each)) for each in grads if is_bfloat16(each)]
    others = tuple(each for each in grads if not is_bfloat16(each))
    if others:
        norms.append(norm_of_all((others, others), engine, Kept(0)))
    return hypot(*norms)
