"""An instruction that writes the time down: the C library's clock, called by compiled code."""

from __future__ import annotations

import ctypes
import time
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ..compiling.jit import once
from ..compiling.specialize import specialize
from ..simd.loops import c_function

SECONDS, NANOSECONDS, GETTIME, KIND = range(4)
"""Words of a job: what the clock told (both parts), its address, and which clock it is."""


@intrinsic
def _gettime(typing: Any, address: Any, kind: Any, place: Any) -> Any:
    """clock_gettime(kind, place), which stands at `address`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        function = ir.FunctionType(number, [number, pointer]).as_pointer()
        given = [builder.trunc(args[1], number), args[2]]
        builder.call(builder.inttoptr(args[0], function), given)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.voidptr), generate


def write_time(low: Any, high: Any, place: Any) -> None:
    """The time now, into the first two words of the job."""
    job = carray(place, (4,), np.int64)
    _gettime(job[GETTIME], job[KIND], place)


@once
def _compiled() -> Any:
    return c_function(specialize(write_time))


@cache
def _gettime_address() -> int:
    """Of the C library's function.

    Raises:
        NotImplementedError: it has none that tells two words of 64 bits.
    """
    if ctypes.sizeof(ctypes.c_long) != 8 or not hasattr(time, "CLOCK_MONOTONIC"):
        raise NotImplementedError("instructions can't be timed: no clock of the C library's")
    return ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value or 0


def clocks(number: int) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Instructions that write the time to a row each of what is returned first.

    Raises:
        NotImplementedError: there is no such clock here.
    """
    rows = np.zeros((number, 4), np.int64)
    rows[:, GETTIME], rows[:, KIND] = _gettime_address(), time.CLOCK_MONOTONIC
    function = _compiled().address
    return rows, [(function, 1, 0, row.ctypes.data, 0) for row in rows]
