"""The arrays of a step with states in other formats: checked before any of them is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array, backend_of
from ...backend.checks.arrays import check_writeable
from ...backend.checks.overlap import any_overlap
from ..rule import AVERAGE, Rule
from .formats import bits_of, check_halves, format_of, is_bfloat16, seen_as_bits
from .layout import BFLOAT16, EIGHT_BIT, FLOAT32, Layout
from .state8bit import State8bit, check_parts

BLOCK = 256
"""Elements that share two words of noise where no state is in 8 bits."""


class Call(NamedTuple):
    """A call that is fit.

    Attributes:
        arrays: those of `layout.arrays()`, in order.
        block: elements of a block.
    """

    layout: Layout
    arrays: tuple[Array, ...]
    block: int

    @property
    def param(self) -> Array:
        """The parameter, or its upper half."""
        return self.arrays[0]


def is_encoded(arrays: Sequence[Any], remainder: Any) -> bool:
    """Whether a step takes arrays of other formats than its own."""
    return remainder is not None or any(
        isinstance(each, State8bit) or is_bfloat16(each) or seen_as_bits(each) is not each
        for each in arrays
    )


def checked(rule: Rule, arrays: Sequence[Any], remainder: Any, names: Sequence[str] = ()) -> Call:
    """The call on these: param, grad, then states.

    Args:
        remainder: the lower halves of a bfloat16 `param`, or None.
        names: what errors call the arrays; by default as the rule does.

    Raises:
        TypeError, ValueError, MixedBackendsError: one is not fit, or not for the others.
    """
    names = names or rule.arguments
    param, grad, *states = arrays
    where = names[0]
    given: dict[str, Array] = {where: param}
    if remainder is not None:
        given["remainder"] = remainder
    given[names[1]] = grad
    for name, state in zip(names[2:], states, strict=True):
        if isinstance(state, State8bit):
            given |= {f"{name}.codes": state.codes, f"{name}.scales": state.scales}
        else:
            given[name] = state
    backend = backend_of(*given.values(), names=[*given])
    if grad.ndim and not grad.flags.c_contiguous:  # which is only read
        with backend.scope():
            given[names[1]] = grad = backend.xp.ascontiguousarray(grad)
    _check_param(where, param, remainder)
    grad_format = _format(names[1], grad, (FLOAT32, BFLOAT16))
    if grad_format == BFLOAT16 and remainder is None:
        raise TypeError(
            f"{names[1]} is bfloat16 but {where} has dtype {param.dtype}; expected float32, or a "
            f"bfloat16 {where} with remainder="
        )
    formats, sizes = [], {}
    for name, kind, state in zip(names[2:], rule.state, states, strict=True):
        formats.append(_check_state(name, kind, state, rule))
        if isinstance(state, State8bit):
            sizes[name] = state.block_size
    if len({*sizes.values()}) > 1:
        told = ", ".join(f"{name} of {size}" for name, size in sizes.items())
        raise ValueError(f"states have blocks of several sizes: {told}; expected one for all")
    for name, array in given.items():
        if not name.endswith(".scales") and array.shape != param.shape:
            raise ValueError(
                f"{name} has shape {array.shape} but {where} has {param.shape}; expected the same "
                "shape (nothing is broadcast in place)"
            )
        if not _is_run(array):
            raise ValueError(
                f"{name} is not one run of memory in C order; expected such an array where states "
                f"are in 16 or 8 bits. Pass {name}.copy()"
            )
        if name != names[1]:
            check_writeable(name, array)
    written = [name for name in given if name != names[1]]
    ordered = [*written, names[1]]
    if pair := any_overlap(ordered, [given[name] for name in ordered], len(written)):
        raise ValueError(
            f"{pair[0]} and {pair[1]} overlap in memory; expected separate arrays, since one is "
            f"written while the other is read. Pass {pair[1]}.copy()"
        )
    param_format = FLOAT32 if remainder is None else BFLOAT16
    layout = Layout(rule, param_format, grad_format, tuple(formats))
    flat = tuple(map(_plain, given.values()))
    return Call(layout, flat, next(iter(sizes.values()), BLOCK))


def _check_param(name: str, param: Array, remainder: Any) -> None:
    if remainder is None:
        if is_bfloat16(param):
            raise TypeError(
                f"{name} is bfloat16; expected remainder= beside it, int16 zeros of its shape at "
                "first: what a step changes would be lost without"
            )
        if param.dtype != np.float32:
            raise TypeError(
                f"{name} has dtype {param.dtype}; expected float32 where states are in 16 or 8 "
                f"bits. Convert it with {name}.astype('float32')"
            )
        return
    check_halves(param, remainder)


def _format(name: str, array: Any, expected: Sequence[str]) -> str:
    found = format_of(array)
    if found == FLOAT32 and array.dtype != np.float32:
        raise TypeError(
            f"{name} has dtype {array.dtype}; expected "
            + " or ".join("a State8bit" if each == EIGHT_BIT else each for each in expected)
        )
    return found


def _check_state(name: str, kind: str, state: Any, rule: Rule) -> str:
    if kind == AVERAGE:
        found = _format(name, state, (FLOAT32,))
        if found != FLOAT32:
            raise TypeError(
                f"{name} is in {found}; expected float32: averages are kept as they are"
            )
        return found
    found = _format(name, state, (FLOAT32, BFLOAT16, EIGHT_BIT))
    if isinstance(state, State8bit):
        check_parts(name, state)
        if state.signed == (kind in rule.unsigned):
            raise ValueError(
                f"{name} is a state in 8 bits with signed={state.signed}; expected "
                f"signed={not state.signed} for that of {rule.name}"
            )
    return found


def _plain(array: Array) -> Array:
    """The same memory as compiled code takes it: the bits of bfloat16."""
    return bits_of(array) if is_bfloat16(array) else array


def _is_run(array: Array) -> bool:
    flags: Any = array.flags
    return bool(flags.c_contiguous and getattr(flags, "aligned", True) and array.dtype.isnative)
