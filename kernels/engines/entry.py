"""How a step comes from Python into compiled code: in one call, with all that must be checked.

A plan holds what a rule's steps have in common: how many arrays and coefficients there are, and
the address of its loop for each dtype. A job is what such a loop reads: the addresses of the
arrays' elements, then the coefficients.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from ..rule import Rule
from . import source
from .atomics import call, pointer
from .compile import njit
from .fields import DTYPES, ITEMSIZES, TABLE, TABLE_WORDS, items, read_arrays, read_floats
from .half import conversions_missing
from .numba_loops import FIRST_SCALAR, shared_loop
from .usable import numba_usable

HELPED = 1 << 20  # bytes of all arrays together from which helpers share a loop if they are awake
DONE, UNFIT, UNCOMPILED, LARGE, MIXED, UNSORTED = range(6)
# Words of a plan: where TABLE lies, numbers of arrays and coefficients, loops, one job.
_TABLE, _ARRAYS, _COEFFICIENTS, _LOOPS, _JOB = 0, 1, 2, 3, 8
_WORDS = 64
INT64, FLOAT64 = types.int64, types.float64
MOVES = 32  # of an array's place, on average, after which another way of sorting is quicker


class Plan:
    """Of a rule.

    Attributes:
        address: of its words, which stay where they are.
        words: how many a job has.
    """

    __slots__ = ("_words", "address", "rule", "words")

    def __init__(self, rule: Rule) -> None:
        arrays, coefficients = len(source.array_names(rule)), len(source.scalar_names(rule))
        self.rule, self.words = rule, FIRST_SCALAR + coefficients
        self._words = np.zeros(_WORDS, np.int64)
        self._words[:3] = TABLE.ctypes.data, arrays, coefficients
        self.address: int = self._words.ctypes.data

    def compile(self, dtype: np.dtype[Any]) -> bool:
        """Make ready for arrays of `dtype`; False where there can be no loop for it."""
        if not numba_usable() or (dtype.char == "e" and conversions_missing()):
            return False
        self._words[_LOOPS + DTYPES.index(dtype)] = shared_loop(self.rule, dtype.name).address
        return True


@cache
def plan_of(rule: Rule) -> Plan:
    """The plan of a rule, which lives as long as the process."""
    return Plan(rule)


@njit()
def _apart(addresses: Any, nbytes: int) -> bool:
    for a in range(addresses.size):
        for b in range(a):
            if abs(addresses[a] - addresses[b]) < nbytes:
                return False
    return True


@njit()
def _fill(arrays: Any, coefficients: Any, words: Any, job: Any) -> Any:
    """Look at the arrays of one call and write its job; what `read_arrays` returns."""
    table = carray(pointer(words[_TABLE]), TABLE_WORDS, INT64)
    objects = items(table, arrays, words[_ARRAYS])
    if objects.size == 0:
        return -1, 0, False
    kind, size, straight = read_arrays(table, objects, job[: objects.size])
    if kind < 0 or not _apart(job[: objects.size], size * ITEMSIZES[kind]):
        return -1, 0, False
    values = job[FIRST_SCALAR : FIRST_SCALAR + words[_COEFFICIENTS]].view(np.float64)
    return (kind if read_floats(table, coefficients, values) else -1), size, straight


@njit("int64(int64, int64, int64)")
def step_one(arrays: int, coefficients: int, plan: int) -> int:
    """Step one call, if its arrays are fit and small: DONE. Otherwise nothing was written.

    Args:
        arrays, coefficients: the `id` of a tuple of arrays and of one of floats.
        plan: `Plan.address` of the rule.

    Returns:
        UNFIT: arrays are not fit, or not of one order (`read_arrays` tells), or share memory.
        UNCOMPILED: the plan has no loop for their dtype.
        LARGE: they are better shared by the crew.
        MIXED: they are fit, but for the gradient, which lies in another order of axes.
    """
    words = carray(pointer(plan), _WORDS, INT64)
    kind, size, straight = _fill(arrays, coefficients, words, words[_JOB:])
    if kind < 0:
        return UNFIT
    if not straight:
        return MIXED
    if words[_LOOPS + kind] == 0:
        return UNCOMPILED
    if size * ITEMSIZES[kind] * words[_ARRAYS] >= HELPED:
        return LARGE
    if size > 0:
        call(words[_LOOPS + kind], 0, size, plan + 8 * _JOB)
    return DONE


@njit("int64(int64, int64, int64, int64[::1])")
def job_of_one(arrays: int, coefficients: int, plan: int, job: Any) -> int:
    """Write a job for the crew; its address, or 0 where `step_one` refuses the arrays."""
    kind, _, straight = _fill(arrays, coefficients, carray(pointer(plan), _WORDS, INT64), job)
    return job.ctypes.data if kind >= 0 and straight else 0


@njit()
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


@njit()
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


@njit("int64(int64, int64, int64, int64, int64[::1])")
def step_each(columns: int, count: int, coefficients: int, plan: int, order: Any) -> int:
    """`step_one` for `count` calls together: all of them are fit, or none is stepped."""
    words = carray(pointer(plan), _WORDS, INT64)
    addresses = np.empty((count, words[_ARRAYS]), np.int64)
    ends = np.empty(count, np.int64)
    kind = read_each(words[_TABLE], columns, addresses, ends, order)
    if kind < 0:
        return -kind
    job = words[_JOB:]
    known = carray(pointer(words[_TABLE]), TABLE_WORDS, INT64)
    values = job[FIRST_SCALAR : FIRST_SCALAR + words[_COEFFICIENTS]].view(np.float64)
    if not read_floats(known, coefficients, values):
        return UNFIT
    if words[_LOOPS + kind] == 0:
        return UNCOMPILED
    if ends[-1] * ITEMSIZES[kind] * words[_ARRAYS] >= HELPED:
        return LARGE
    done = 0
    for k in range(count):
        job[: words[_ARRAYS]] = addresses[k]
        if ends[k] > done:
            call(words[_LOOPS + kind], 0, ends[k] - done, plan + 8 * _JOB)
        done = ends[k]
    return DONE
