"""The arrays of many calls of one rule, checked together before the first of them is written.

Small ones are stepped in the same call of compiled code. Where there is more to do, they are seen
as one long run of elements: one compiled walk hands each piece of it to the same loop that a single
large array has, so that threads share it however its elements are spread over arrays.

Slices are copied by a loop, and searched by one: Numba takes two seconds to compile the assignment
of a slice, whose error it words, and a third of one for `searchsorted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types

from ...backend import Array
from ..compiling.jit import cfunc, njit
from ..crew.atomics import call, pointer
from ..crew.crew import HELPED
from ..simd.loops import copy, part
from .base import Kept
from .entry import (
    ARRAYS,
    COEFFICIENTS,
    DONE,
    JOB,
    KNOWN,
    LARGE,
    LOOPS,
    MIXED,
    UNCOMPILED,
    UNFIT,
    WORDS,
)
from .numba_fields import DTYPES, ITEMSIZES, TABLE, TABLE_WORDS, items, read_arrays, read_floats
from .numba_loops import FIRST_SCALAR

INT64, FLOAT64 = types.int64, types.float64
UNSORTED = 1 + max(DONE, UNFIT, UNCOMPILED, LARGE, MIXED)
MOVES = 32  # of an array's place, on average, after which another way of sorting is quicker


@part
def _sort(order: Any, keys: Any) -> bool:
    """Sort `order` by its keys, moving few; False, and `order` in between, where that is long."""
    moves = MOVES * order.size
    for i in range(1, order.size):
        k, j = order[i], i
        while j > 0 and keys[order[j - 1]] > keys[k]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = k
        moves -= i - j
        if moves < 0:
            return False
    return True


@part
def _all_apart(addresses: Any, ends: Any, itemsize: int, order: Any) -> bool:
    """Whether no array that is written shares memory with any other, of whichever call."""
    arguments = addresses.shape[1]
    reach = written_reach = 0
    for k in order:
        which, argument = k // arguments, k % arguments
        size = ends[which] - (ends[which - 1] if which else 0)
        if size == 0:
            continue
        start = addresses[which, argument]
        if start < written_reach or (argument != 1 and start < reach):
            return False
        reach = max(reach, start + size * itemsize)
        if argument != 1:
            written_reach = max(written_reach, start + size * itemsize)
    return True


@njit("int64(int64, int64, int64[:, ::1], int64[::1], int64[::1])")
def read_each(table: int, columns: int, addresses: Any, ends: Any, order: Any) -> int:
    """Look at the arrays of many calls.

    Args:
        table: the address of TABLE.
        columns: the `id` of a tuple of tuples: argument k of every call.
        addresses: written: for each call, where the elements of its arrays begin.
        ends: written: how many elements it and all calls before it have.
        order: of all arrays in memory, the last time; written.

    Returns:
        k, where DTYPES[k] is the dtype of all; -UNFIT; -MIXED; or -UNSORTED: `order` must be made
        that which sorts the flattened `addresses`.
    """
    known = carray(pointer(table), TABLE_WORDS, INT64)
    calls, arguments = addresses.shape
    given = items(known, columns, arguments)
    if given.size == 0 or order.size != addresses.size:
        return -UNFIT
    objects = np.empty(arguments, np.int64)
    kind, total, straight = -UNFIT, 0, True
    for k in range(calls):
        for argument in range(given.size):
            column = items(known, given[argument], calls)
            if column.size == 0:
                return -UNFIT
            objects[argument] = column[k]
        found, size, alike = read_arrays(known, objects, addresses[k])
        if found < 0 or (k > 0 and found != kind):
            return -UNFIT
        kind, straight = found, straight and alike
        total += size
        ends[k] = total
    if not _sort(order, addresses.reshape(-1)):
        return -UNSORTED
    if not _all_apart(addresses, ends, ITEMSIZES[kind], order):
        return -UNFIT
    return kind if straight else -MIXED


@njit("int64(int64, int64, int64, int64, int64, int64[::1], int64[::1])")
def step_each(
    columns: int, count: int, coefficients: int, rows: int, plan: int, groups: Any, order: Any
) -> int:
    """`step_one` for `count` calls together: all of them are fit, or none is stepped.

    `groups`: of each call, the group whose coefficients it takes, of `rows` that there are; empty
    where there is but one.
    """
    words = carray(pointer(plan), WORDS, INT64)
    addresses = np.empty((count, words[ARRAYS]), np.int64)
    ends = np.empty(count, np.int64)
    kind = read_each(words[KNOWN], columns, addresses, ends, order)
    if kind < 0:
        return -kind
    known = carray(pointer(words[KNOWN]), TABLE_WORDS, INT64)
    width = words[COEFFICIENTS]
    own = carray(pointer(plan + 8 * (JOB + FIRST_SCALAR)), width, FLOAT64)
    every = np.empty(rows * width)
    if groups.size not in (0, count):
        return UNFIT
    if not read_floats(known, coefficients, every if groups.size else own):
        return UNFIT
    if words[LOOPS + kind] == 0:
        return UNCOMPILED
    if ends[count - 1] * ITEMSIZES[kind] * words[ARRAYS] >= HELPED:
        return LARGE
    done = 0
    for k in range(count):
        for argument in range(words[ARRAYS]):
            words[JOB + argument] = addresses[k, argument]
        if groups.size:
            copy(every[groups[k] * width : (groups[k] + 1) * width], own)
        if ends[k] > done:
            call(words[LOOPS + kind], 0, ends[k] - done, plan + 8 * JOB)
        done = ends[k]
    return DONE


class Bundle(NamedTuple):
    """Arrays that were found fit, and stay so while nobody else gets to run.

    Attributes:
        columns: each argument of every call (params, grads, then each state); keeps them alive.
        dtype: that of all.
        addresses: for each call, where the elements of its arrays begin.
        ends: how many elements each call and all before it have.
        groups: of each call, whose coefficients it takes; empty where there is one group.
    """

    columns: Sequence[Sequence[Array]]
    dtype: np.dtype[Any]
    addresses: np.ndarray
    ends: np.ndarray
    groups: np.ndarray

    @property
    def size(self) -> int:
        """Elements of all calls."""
        return int(self.ends[-1])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.size * self.dtype.itemsize * len(self.columns)

    def job(self, function: int, width: int, coefficients: Sequence[float]) -> np.ndarray:
        """The argument of `walk`, for a shared loop at the address `function` that takes `width`
        coefficients."""
        job = np.zeros(FIRST_SCALAR + len(coefficients), dtype=np.int64)
        addresses, ends, groups = self.addresses, self.ends, self.groups
        job[:5] = function, addresses.ctypes.data, *addresses.shape, ends.ctypes.data
        job[5:7] = width, groups.ctypes.data if groups.size else 0
        job.view(np.float64)[FIRST_SCALAR:] = coefficients
        return job


def read(
    columns: tuple[tuple[Array, ...], ...], order: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """What `read_each` returns and writes; `order` may be any, and is that of these arrays then."""
    addresses = np.empty((len(columns[0]), len(columns)), dtype=np.int64)
    ends = np.empty(len(addresses), dtype=np.int64)
    kind = read_each(TABLE.ctypes.data, id(columns), addresses, ends, order)
    if kind == -UNSORTED:
        order[:] = addresses.reshape(-1).argsort(kind="stable")  # quick where most is in order
        kind = read_each(TABLE.ctypes.data, id(columns), addresses, ends, order)
    return kind, addresses, ends


def bundle_of(columns: tuple[tuple[Array, ...], ...], kept: Kept) -> Bundle | None:
    """The bundle of these arrays, or None where any of them needs a closer look."""
    kind, addresses, ends = read(columns, kept.order)
    return Bundle(columns, DTYPES[kind], addresses, ends, kept.groups) if kind >= 0 else None


@cfunc("void(int64, int64, voidptr)", error_model="numpy")
def walk(low: int, high: int, job: Any) -> None:
    """Elements low to high of a bundle: a call of the shared loop for each array they lie in.

    `job`: the loop; where addresses lie, their rows and columns; where ends lie; how many
    coefficients a group has; where groups lie, or 0; a word more; then the groups' coefficients.
    """
    head = carray(job, FIRST_SCALAR, INT64)
    addresses = carray(pointer(head[1]), (head[2], head[3]), INT64)
    ends = carray(pointer(head[4]), head[2], INT64)
    width = FIRST_SCALAR + head[5]
    own = np.empty(width, dtype=np.int64)
    copy(carray(job, width, INT64), own)
    groups = carray(pointer(head[6]), head[2], INT64)
    k, after = 0, head[2]  # in between lies the first that ends behind low
    while k < after:
        middle = (k + after) // 2
        if ends[middle] > low:
            after = middle
        else:
            k = middle + 1
    while low < high:
        begin, end = (ends[k - 1] if k else 0), min(ends[k], high)
        for argument in range(head[3]):
            own[argument] = addresses[k, argument]
        if head[6]:
            before = groups[k] * head[5]
            every = carray(job, width + before, INT64)
            copy(every[FIRST_SCALAR + before :], own[FIRST_SCALAR:])
        call(head[0], low - begin, end - begin, own.ctypes.data)
        low = end
        k += 1
