"""What the tasks of an operation over rows are told, and how a call's arrays come there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from ...compiling.jit import njit
from ...crew.atomics import call, pointer
from ...rule_engines.numba_fields import DATA, START, TABLE, TABLE_WORDS, items

HEIGHT, TASKS, ROWS, GROUPS, COLUMNS, INNER, REPEATED, SEEN, RESULT, ARRAYS, IN_PLACE = range(11)
"""Words of a job: `Plan`; how many of the arrays of elements loops see, the number of the result,
the number of all arrays; whether the result replaces one that is seen."""
FIRST = 11
"""The word from which on arrays' addresses follow: those of elements, vectors, `given`, `kept`, the
sums of tasks, `added`; then come the numbers of the call, in double."""

KNOWN: int = TABLE.ctypes.data


def mark_in_place(job: np.ndarray) -> None:
    """Tell a job whose addresses are there whether its result replaces what is read."""
    result = int(job[RESULT])
    places = job[FIRST : FIRST + result + 1].tolist()
    job[IN_PLACE] = places[-1] in places[:-1]


@njit()
def run(job: Any, function: int, join: int) -> None:
    result = job[FIRST + job[RESULT]]
    job[IN_PLACE] = 0
    for k in range(job[RESULT]):
        if job[FIRST + k] == result:
            job[IN_PLACE] = 1
    call(function, 0, job[TASKS], job.ctypes.data)
    if join != 0:
        call(join, 0, 1, job.ctypes.data)


@njit("boolean(int64, int64, int64[::1], int64, int64)")
def take(known: int, arrays: int, job: Any, function: int, join: int) -> bool:
    """Write the addresses of a tuple of arrays, by its `id`, into a job, and run it in this thread
    if there is a function; False, with nothing done, where Python's fields are not known."""
    table = carray(pointer(known), TABLE_WORDS, types.int64)
    if table[START] == 0:
        return False
    objects = items(table, arrays, job[ARRAYS])
    if objects.size == 0:
        return False
    for k in range(objects.size):
        job[FIRST + k] = carray(pointer(objects[k] + table[START]), 8, types.int64)[DATA]
    if function != 0:
        run(job, function, join)
    return True
