"""float16 in Numba code on the CPU: arrays of its bits, read as float32 and rounded when stored.

Numba has no float16 arithmetic on the CPU; LLVM has the two conversions, one instruction each.
`load` and `store` take arrays of bfloat16's bits, too: those are int16, float16's are uint16.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from ..compiling.dtypes import STORED
from .bfloat16 import from_bfloat16, to_bfloat16

NUMBERS = {char: numba.from_dtype(np.dtype(stored)) for char, stored in STORED.items()}
"""Numba's types of what compiled code takes, by the character of the dtype."""


@cache
def conversions_missing() -> bool:
    """Whether this processor lacks the instructions (x86 before 2012)."""
    features = llvm.get_host_cpu_features()
    return "f16c" in features and not features["f16c"]


def why_no_half(kind: str) -> str:
    """Why this processor can't take arrays of a dtype, by its character; or ""."""
    lacking = kind == "e" and conversions_missing()
    return "this processor has no float16 conversions" if lacking else ""


@intrinsic
def widened(typing: Any, bits: Any) -> Any:
    """The float32 of the bits of a float16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        half = builder.bitcast(args[0], ir.HalfType())
        return builder.fpext(half, ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def rounded(typing: Any, value: Any) -> Any:
    """The bits of a float32 rounded to float16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        half = builder.fptrunc(args[0], ir.HalfType())
        return builder.bitcast(half, ir.IntType(16))

    return types.uint16(types.float32), generate


def load(array: Any, i: int) -> Any:
    """array[i], as float32 where the array holds bits of 16-bit numbers; a scalar as it is."""
    raise NotImplementedError("compiled code only")


def store(array: Any, i: int, value: Any) -> None:
    """array[i] = value, rounded where the array holds bits of 16-bit numbers."""
    raise NotImplementedError("compiled code only")


@overload(load)
def _load(array, i):
    if isinstance(array, types.Number):
        return lambda array, i: array
    if array.dtype == types.uint16:
        return lambda array, i: widened(array[i])
    if array.dtype == types.int16:
        return lambda array, i: from_bfloat16(array[i])
    return lambda array, i: array[i]


@overload(store)
def _store(array, i, value):
    def store_half(array, i, value):
        array[i] = rounded(value)

    def store_bfloat16(array, i, value):
        array[i] = to_bfloat16(value)

    def store_float(array, i, value):
        array[i] = value

    return {types.uint16: store_half, types.int16: store_bfloat16}.get(array.dtype, store_float)
