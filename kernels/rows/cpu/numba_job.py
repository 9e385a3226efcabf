"""What the tasks of an operation over rows are told, and how a call's arrays come there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from ...compiling.jit import njit
from ...crew.atomics import call, pointer
from ...rule_engines.numba_fields import DATA, START, TABLE, TABLE_WORDS, items

HEIGHT, TASKS, ROWS, GROUPS, COLUMNS, INNER, REPEATED, SEEN, RESULT, ARRAYS = range(10)
"""Words of a job: `Plan`; how many of the arrays of elements loops see, the number of the result,
the number of all arrays."""
FIRST = 10
"""The word from which on arrays' addresses follow: those of elements, vectors, `given`, `kept`, the
sums of tasks, `added`; then come the numbers of the call, in double."""

KNOWN: int = TABLE.ctypes.data


def is_in_place(job: np.ndarray) -> bool:
    """Whether the result of a job whose addresses are there replaces what is read."""
    places = job[FIRST : FIRST + int(job[RESULT]) + 1].tolist()
    return places[-1] in places[:-1]


@njit()
def run(job: Any, function: int, join: int) -> bool:
    """Run it in this thread; False, with nothing done, where the result replaces what is read."""
    result = job[FIRST + job[RESULT]]
    for k in range(job[RESULT]):
        if job[FIRST + k] == result:
            return False
    call(function, 0, job[TASKS], job.ctypes.data)
    if join != 0:
        call(join, 0, 1, job.ctypes.data)
    return True


@njit("boolean(int64, int64, int64[::1], int64, int64)")
def take(known: int, arrays: int, job: Any, function: int, join: int) -> bool:
    """Write the addresses of a tuple of arrays, by its `id`, into a job, and run it in this thread
    if there is a function; False, with nothing run, where Python's fields are not known, or where
    the result replaces what is read."""
    table = carray(pointer(known), TABLE_WORDS, types.int64)
    if table[START] == 0:
        return False
    objects = items(table, arrays, job[ARRAYS])
    if objects.size == 0:
        return False
    for k in range(objects.size):
        job[FIRST + k] = carray(pointer(objects[k] + table[START]), 8, types.int64)[DATA]
    return function == 0 or run(job, function, join)
