"""The states of an optimizer in 16 and 8 bits, and parameters in two halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .... import kernels
from ....backend.checks.numbers import count, random_word
from ....kernels.encoded_states import (
    EIGHT_BIT,
    FLOAT32,
    Call,
    Prepared,
    calls_of,
    check_format,
    checked_block_size,
    format_of,
    is_bfloat16,
    keys_of,
    step_all,
    unsigned_states,
)
from ....kernels.launch import AVERAGE
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
        arrays: Mapping[Key, Array],
        options: Mapping[str, Any],
    ) -> None:
        self.config = dict(options)
        self.halves = any(map(is_bfloat16, arrays.values()))
        self._unsigned = unsigned_states()
        self._block = checked_block_size(options["block_size"])
        self._least = _least("min_8bit_size", options["min_8bit_size"])
        self._seed = random_word("rounding_seed", options["rounding_seed"])
        self._sizes = {key: array.size for key, array in arrays.items()}
        common = _checked("state_format", options["state_format"], states)
        self._chosen: dict[Key, list[Format]] = {key: [common] for key in arrays}
        by_name = options["state_format_by_name"]
        for pattern, value in ({} if by_name is None else _mapping(by_name)).items():
            own = _checked(f"state_format_by_name[{pattern!r}]", value, states)
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

    def format(self, key: Key, state: str) -> str:
        """That of an array's state."""
        if state == AVERAGE:
            return FLOAT32
        found = FLOAT32
        for own in self._chosen[key]:
            found = own if isinstance(own, str) else own.get(state, found)
        return FLOAT32 if found == EIGHT_BIT and self._sizes[key] < self._least else found

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
        made = self.calls(calls, prepared[0], states)
        step_all(prepared, made, engine, (self._seed, step), calls.kept)

    def keys(self, step: int, arrays: int) -> list[int]:
        """Of the noise of a step, one for each array that is stepped."""
        return keys_of(self._seed, step, arrays)

    def calls(self, calls: Calls, rule: Any, states: Sequence[str]) -> list[Call]:
        """The checked calls of a step on these arrays.

        Raises:
            TypeError, ValueError: one is not fit.
        """
        columns: Sequence[Sequence[Any]] = calls.columns
        halves: Sequence[Any] = [None] * len(columns[0])
        if states and states[-1] == REMAINDER:
            *columns, halves = columns
            states = states[:-1]
        keys = calls.keys

        def names(number: int) -> list[str]:
            key = keys[number]
            return [f"params[{key!r}]", f"grads[{key!r}]", *states]

        return calls_of(rule, columns, halves, names, calls.kept)


def _checked(what: str, value: Any, states: Sequence[str]) -> Format:
    """A format, or one for some of the states by name."""
    if not isinstance(value, Mapping):
        return check_format(what, value)
    for name, kind in value.items():
        if name not in states or name == AVERAGE:
            own = ", ".join(repr(each) for each in states if each != AVERAGE) or "none"
            raise ValueError(f"{what} has the state {name!r}; expected some of {own}")
        check_format(f"{what}[{name!r}]", kind)
    return dict(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(
            f"state_format_by_name is a {type(value).__name__}; expected a mapping such as "
            '{"*.bias": "float32"}'
        )
    return value


def _least(name: str, value: Any) -> int:
    return 0 if type(value) is int and value == 0 else count(name, value)


def decoded(arrays: Any) -> Any:
    """A checkpoint's arrays of one state in float32; what is none of a format is left as it is."""
    if not isinstance(arrays, Mapping):
        return arrays
    return {
        key: kernels.decode_state(each)
        if isinstance(each, kernels.State8bit) or is_bfloat16(each)
        else each
        for key, each in arrays.items()
    }


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
        if isinstance(value, kernels.State8bit) or state == REMAINDER or is_bfloat16(value):
            continue
        if value.dtype != np.float32:
            raise TypeError(f"{name} has dtype {value.dtype}; expected float32, or a format")
    return arrays


def norm_of(grads: Sequence[Array]) -> float:
    """The norm of gradients, which may be bfloat16."""
    return kernels.global_norm(
        [kernels.decode_state(each) if is_bfloat16(each) else each for each in grads]
    )
