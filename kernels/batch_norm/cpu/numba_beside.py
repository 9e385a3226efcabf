"""What tasks with a residual have beside the others: that, and the gate of a backward.

All of it is decided when tasks are compiled: where there is no residual these functions take None,
and nothing is left of them.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from ...simd.loops import part
from ...simd.memory import address, span
from .numba_loops import close_gate, pass_gate


@part
def nothing(place: Any, size: Any, number: Any) -> Any:
    """In place of `memory`: no array."""
    return None


def beside(array: Any, low: int, high: int) -> Any:
    """Elements low to high of an array, or None."""
    raise NotImplementedError("compiled code only")


@overload(beside)
def _beside(array, low, high):
    if isinstance(array, types.NoneType):
        return lambda array, low, high: None
    return lambda array, low, high: span(array, low, high)


def given(dz: Any, dy: Any) -> Any:
    """What dx follows from: dz, or dy where there is none."""
    raise NotImplementedError("compiled code only")


@overload(given)
def _given(dz, dy):
    return (lambda dz, dy: dy) if isinstance(dz, types.NoneType) else (lambda dz, dy: dz)


def passed(dy: Any, y: Any, dz: Any, low: int, high: int, zero: Any) -> Any:
    """Elements low to high of dy, or of dz, once they are written there."""
    raise NotImplementedError("compiled code only")


@overload(passed)
def _passed(dy, y, dz, low, high, zero):
    if isinstance(dz, types.NoneType):
        return lambda dy, y, dz, low, high, zero: span(dy, low, high)

    def through_gate(dy, y, dz, low, high, zero):
        into = span(dz, low, high)
        if address(dz) == address(dy):
            close_gate(into, span(y, low, high), zero)
        else:
            pass_gate(span(dy, low, high), span(y, low, high), into, zero)
        return into

    return through_gate
