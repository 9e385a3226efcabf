"""What NumPy keeps of an array, read by compiled code: 10 ns an array where Python takes 500.

NumPy's C headers lay these fields open to every extension module, so their order is as fixed as
its binary interface; Numba runs on CPython only, where `id` is an object's address. `fields_known`
holds what would be read against what Python says, once; where they differ nobody may read them.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from .atomics import pointer
from .compile import njit

# Words of an array object, from the last of those that every Python object begins with.
TYPE, DATA, NDIM, SHAPE, _, _, DTYPE, FLAGS = range(8)
START = object.__basicsize__ - 8
LOW = (1 << 32) - 1  # NDIM and FLAGS are 32 bits
RUN = 0x1 | 0x100  # NumPy's C_CONTIGUOUS | ALIGNED
WRITEABLE = 0x400
INT64 = types.int64
NDARRAY = id(np.ndarray)


@cache
def fields_known() -> bool:
    """Whether the fields of an array lie where this file reads them."""
    if np.ndarray.__basicsize__ < START + 64:
        return False
    array = np.empty((5, 3), "float32")[1:]
    words = (ctypes.c_int64 * 8).from_address(id(array) + START)
    numbers = words[NDIM] & LOW, words[FLAGS] & LOW
    return (
        (words[TYPE], words[DATA], words[DTYPE]) == (NDARRAY, array.ctypes.data, id(array.dtype))
        and numbers == (array.ndim, array.flags.num)
        and (ctypes.c_int64 * 2).from_address(words[SHAPE])[:] == list(array.shape)
    )


@njit("boolean(int64[:, ::1], int64, int64, int64, int64[:, ::1], int64[::1])")
def read_rows(objects: Any, start: int, kind: int, dtype: int, addresses: Any, ends: Any) -> bool:
    """Look at the arrays of many calls: column 1 is only read, every other is written.

    Args:
        objects: the `id` of each array; row k holds argument k of every call.
        start, kind: START and NDARRAY, which machine code kept on disk must not hold.
        dtype: the `id` of the dtype that all must have.
        addresses: written: for each call, where the elements of its arrays begin.
        ends: written: how many elements it and all calls before it have.

    Returns:
        False where an array is of another type or dtype, not one aligned run of elements, of
        another shape than the first of its call, or read-only but written.
    """
    total = 0
    for call in range(objects.shape[1]):
        first = carray(pointer(objects[0, call] + start), 8, INT64)
        size = 1
        for argument in range(objects.shape[0]):
            words = carray(pointer(objects[argument, call] + start), 8, INT64)
            if words[TYPE] != kind or words[DTYPE] != dtype:
                return False
            wanted = RUN if argument == 1 else RUN | WRITEABLE
            ndim = words[NDIM] & LOW
            if words[FLAGS] & wanted != wanted or ndim != first[NDIM] & LOW:
                return False
            shape = carray(pointer(words[SHAPE]), ndim, INT64)
            expected = carray(pointer(first[SHAPE]), ndim, INT64)
            for axis in range(ndim):
                if shape[axis] != expected[axis]:
                    return False
                if argument == 0:
                    size *= shape[axis]
            addresses[call, argument] = words[DATA]
        total += size
        ends[call] = total
    return True


@njit("boolean(int64[:, ::1], int64[::1], int64, int64[::1])")
def apart(addresses: Any, ends: Any, itemsize: int, order: Any) -> bool:
    """Whether no array that is written shares memory with any other, of whichever call.

    `order` sorts the flattened `addresses`.
    """
    arguments = addresses.shape[1]
    reach = written_reach = 0
    for k in order:
        call, argument = k // arguments, k % arguments
        size = ends[call] - (ends[call - 1] if call else 0)
        if size == 0:
            continue
        start = addresses[call, argument]
        if start < written_reach or (argument != 1 and start < reach):
            return False
        reach = max(reach, start + size * itemsize)
        if argument != 1:
            written_reach = max(written_reach, start + size * itemsize)
    return True
