"""How a call's arrays come into a job, and small ones through it, in one call of compiled code."""

from __future__ import annotations

from typing import Any

from numba import carray, types

from ...compiling.jit import njit
from ...crew.atomics import call, pointer
from ...rule_engines.numba_fields import DATA, START, TABLE, TABLE_WORDS, items
from .numba_job import ARRAYS, FIRST, RESULT, TASKS

KNOWN: int = TABLE.ctypes.data


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
