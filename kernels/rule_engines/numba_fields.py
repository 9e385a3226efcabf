"""What Python and NumPy keep of their objects, read by compiled code: 10 ns an array.

Handing an array to compiled code takes 200 ns, and looking at one in Python 500. So a tuple of
arrays is handed over by its address, and the rest is read here.

NumPy's C headers lay these fields open to every extension module, so their order is as fixed as
its binary interface; Numba runs on CPython only, where `id` is an object's address. `fields_known`
holds what would be read against what Python says, once; where they differ nothing is read.

Nobody else runs while compiled code holds Python's global lock: what was read is true until then.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
from numba import carray, types

from ..crew.atomics import pointer
from ..simd.loops import part

# Words of an array object, from the last of those that every Python object begins with.
TYPE, DATA, NDIM, SHAPE, STRIDES, _, DTYPE, FLAGS = range(8)
LOW = (1 << 32) - 1  # NDIM and FLAGS are 32 bits
C_ORDER, FORTRAN_ORDER, ALIGNED, WRITEABLE = 0x1, 0x2, 0x100, 0x400  # NumPy's flags
KIND = (
    ~0xFF000000
)  # bits of a dtype's word that tell what it is: kind, character, byte order, number
DTYPES = tuple(map(np.dtype, ("float32", "float64", "float16")))
"""The dtypes in the order in which compiled code counts them."""
ITEMSIZES = tuple(dtype.itemsize for dtype in DTYPES)
INT64, FLOAT64 = types.int64, types.float64

# Words of TABLE: what machine code kept on disk must not hold, since it is this process's.
START, COUNT, ITEMS, VALUE, TUPLE, NDARRAY, FLOAT, KINDS = range(8)


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _table() -> np.ndarray:
    """Where fields lie, the addresses of types, and a word of each dtype; zeros if unknown."""
    start, ends = object.__basicsize__ - 8, (object.__basicsize__, tuple.__basicsize__)
    places = start, *ends, float.__basicsize__ - 8
    kinds = [word_of_dtype(dtype) for dtype in DTYPES]
    table = np.array([*places, id(tuple), id(np.ndarray), id(float), *kinds])
    return table if fields_known(*places) else np.zeros_like(table)


def word_of_dtype(dtype: np.dtype[Any]) -> int:
    """What tells a dtype from others: a word of each of its objects, of which KIND masks bits."""
    return _word(id(dtype) + object.__basicsize__ - 8 + 16) & KIND


def fields_known(start: int, count: int, items: int, value: int) -> bool:
    """Whether fields lie there, and in the order in which this file reads them.

    Args:
        start: of TYPE in any object.
        count, items: of a tuple's length and its items.
        value: of a float's value.
    """
    if np.ndarray.__basicsize__ < start + 64 or sys.byteorder != "little":
        return False
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    array, number = np.empty((5, 3), "float32")[1:], 0.1
    both = array, number
    words = (ctypes.c_int64 * 8).from_address(id(array) + start)
    return (
        [words[TYPE], words[DATA], words[DTYPE]]
        == [id(np.ndarray), array.ctypes.data, id(array.dtype)]
        and [words[NDIM] & LOW, words[FLAGS] & LOW] == [array.ndim, array.flags.num]
        and (ctypes.c_int64 * 2).from_address(words[SHAPE])[:] == list(array.shape)
        and (ctypes.c_int64 * 2).from_address(words[STRIDES])[:] == list(array.strides)
        and ctypes.string_at(id(array.dtype) + start + 16, 3) == b"ff="
        and [_word(id(both) + start), _word(id(both) + count)] == [id(tuple), len(both)]
        and [_word(id(both) + items + 8 * k) for k in range(2)] == [id(array), id(number)]
        and _word(id(number) + start) == id(float)
        and ctypes.c_double.from_address(id(number) + value).value == number
    )


TABLE = _table()
TABLE_WORDS = TABLE.size


@part
def word(address: Any) -> Any:
    """The 8 bytes there."""
    return carray(pointer(address), 1, INT64)[0]


@part
def items(table: Any, address: Any, count: int) -> Any:
    """The addresses of the `count` items of a tuple; none where it is another object."""
    if word(address + table[START]) != table[TUPLE] or word(address + table[COUNT]) != count:
        count = 0
    return carray(pointer(address + table[ITEMS]), count, INT64)


@part
def read_floats(table: Any, address: Any, values: Any) -> bool:
    """Write to `values` what a tuple of floats holds; False where it is something else."""
    numbers = items(table, address, values.size)
    for k in range(numbers.size):
        if word(numbers[k] + table[START]) != table[FLOAT]:
            return False
        values[k] = carray(pointer(numbers[k] + table[VALUE]), 1, FLOAT64)[0]
    return numbers.size == values.size


@part
def _is_dense(shape: Any, strides: Any, itemsize: int, size: int) -> bool:
    """Whether the axes, in some order, fill memory without gaps."""
    reach = itemsize
    for _ in range(shape.size):
        for axis in range(shape.size):
            if shape[axis] > 1 and strides[axis] == reach:
                reach *= shape[axis]
    return reach == size * itemsize


@part
def _same_order(shape: Any, strides: Any, others: Any) -> bool:
    for axis in range(shape.size):
        if shape[axis] > 1 and strides[axis] != others[axis]:
            return False
    return True


@part
def read_arrays(table: Any, objects: Any, addresses: Any) -> Any:
    """Look at the arrays of one call: the second is only read, every other is written.

    Args:
        objects: the address of each array object.
        addresses: written: where the elements of each begin.

    Returns:
        (k, elements, straight), where DTYPES[k] is the dtype of all. k is -1 where an array is of
        another type, dtype or shape than the first, not aligned, or read-only but written, or does
        not fill its memory, in the order of axes that the first has. The second array may have
        another order; `straight` is whether it has not.
    """
    first = carray(pointer(objects[0] + table[START]), 8, INT64)
    flags, size, kind, at = -1, 1, 0, table[START] + 16
    for k in range(objects.size):
        fields = carray(pointer(objects[k] + table[START]), 8, INT64)
        if fields[TYPE] != table[NDARRAY] or fields[NDIM] & LOW != first[NDIM] & LOW:
            return -1, 0, False
        if k == 0:
            kind = word(first[DTYPE] + at) & KIND
        elif fields[DTYPE] != first[DTYPE] and word(fields[DTYPE] + at) & KIND != kind:
            return -1, 0, False
        flags &= fields[FLAGS] | WRITEABLE if k == 1 else fields[FLAGS]
        shape = carray(pointer(fields[SHAPE]), fields[NDIM] & LOW, INT64)
        expected = carray(pointer(first[SHAPE]), fields[NDIM] & LOW, INT64)
        for axis in range(shape.size):
            if shape[axis] != expected[axis]:
                return -1, 0, False
            if k == 0:
                size *= shape[axis]
        addresses[k] = fields[DATA]
    found = 0
    while found < 3 and table[KINDS + found] != kind:
        found += 1
    if found == 3 or flags & (ALIGNED | WRITEABLE) != ALIGNED | WRITEABLE:
        return -1, 0, False
    if flags & (C_ORDER | FORTRAN_ORDER):
        return found, size, True
    straight = True
    strides = carray(pointer(first[STRIDES]), first[NDIM] & LOW, INT64)
    for k in range(objects.size):
        fields = carray(pointer(objects[k] + table[START]), 8, INT64)
        shape = carray(pointer(fields[SHAPE]), fields[NDIM] & LOW, INT64)
        steps = carray(pointer(fields[STRIDES]), fields[NDIM] & LOW, INT64)
        same = _same_order(shape, strides, steps)
        if not (same or k == 1) or (k < 2 and not _is_dense(shape, steps, ITEMSIZES[found], size)):
            return -1, 0, False
        straight = straight and same
    return found, size, straight
