"""How loops are compiled for the CPU, and the two that every operation needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types

from ..compiling.jit import cfunc
from ..compiling.parts import inner_loop
from ..compiling.parts import part as part_with

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
_SUMS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}

part = part_with(**OPTIONS)
inline = inner_loop(**OPTIONS)
loop = inner_loop(**OPTIONS, forceinline=True)  # a call costs what a short loop does
reduction = inner_loop(**_SUMS)
reduction_loop = inner_loop(**_SUMS, forceinline=True)

_CALL = types.void(types.int64, types.int64, types.voidptr)


def c_function(function: Callable[..., None]) -> Any:
    """`function`(low, high, address of a job) in C's convention, as a crew calls it."""
    return cfunc(_CALL, **OPTIONS)(function)


@inline
def fill(array: Any, number: Any) -> None:
    for i in range(array.size):
        array[i] = number


@inline
def copy(source: Any, target: Any) -> None:
    for i in range(target.size):
        target[i] = source[i]
