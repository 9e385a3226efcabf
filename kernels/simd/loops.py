"""How loops are compiled for the CPU, and the two that every operation needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import types

from ..compiling.jit import cfunc
from ..compiling.parts import part as part_with

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}

_INNER: dict[str, Any] = {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}  # half the compiling
inline = numba.njit(**OPTIONS, **_INNER)
loop = numba.njit(**OPTIONS, **_INNER, forceinline=True)  # a call costs what a short loop does
part = part_with(**OPTIONS)
_SUMS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}, **_INNER}
reduction = numba.njit(**_SUMS)
reduction_loop = numba.njit(**_SUMS, forceinline=True)

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
