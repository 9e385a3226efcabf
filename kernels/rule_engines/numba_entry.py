"""How a step comes from Python into compiled code: in one call, with all that must be checked."""

from __future__ import annotations

from typing import Any

from numba import carray, types

from ..compiling.jit import njit
from ..crew.atomics import call, pointer
from ..crew.crew import HELPED
from ..simd.loops import part
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
from .numba_fields import ITEMSIZES, TABLE_WORDS, items, read_arrays, read_floats
from .numba_loops import FIRST_SCALAR

INT64, FLOAT64 = types.int64, types.float64


@part
def _apart(addresses: Any, nbytes: int) -> bool:
    for a in range(addresses.size):
        for b in range(a):
            if abs(addresses[a] - addresses[b]) < nbytes:
                return False
    return True


@part
def _fill(arrays: Any, coefficients: Any, plan: Any, job: Any) -> Any:
    """Look at the arrays of one call and write the job there; what `read_arrays` returns."""
    words = carray(pointer(plan), WORDS, INT64)
    table = carray(pointer(words[KNOWN]), TABLE_WORDS, INT64)
    objects = items(table, arrays, words[ARRAYS])
    if objects.size == 0:
        return -1, 0, False
    addresses = carray(pointer(job), objects.size, INT64)
    kind, size, straight = read_arrays(table, objects, addresses)
    if kind < 0 or not _apart(addresses, size * ITEMSIZES[kind]):
        return -1, 0, False
    values = carray(pointer(job + 8 * FIRST_SCALAR), words[COEFFICIENTS], FLOAT64)
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
    words = carray(pointer(plan), WORDS, INT64)
    kind, size, straight = _fill(arrays, coefficients, plan, plan + 8 * JOB)
    if kind < 0:
        return UNFIT
    if not straight:
        return MIXED
    if words[LOOPS + kind] == 0:
        return UNCOMPILED
    if size * ITEMSIZES[kind] * words[ARRAYS] >= HELPED:
        return LARGE
    if size > 0:
        call(words[LOOPS + kind], 0, size, plan + 8 * JOB)
    return DONE


@njit("boolean(int64, int64, int64, int64)")
def write_job(arrays: int, coefficients: int, plan: int, job: int) -> bool:
    """Write the job of one call to the address `job`; False where `step_one` refuses the arrays."""
    kind, _, straight = _fill(arrays, coefficients, plan, job)
    return kind >= 0 and straight
