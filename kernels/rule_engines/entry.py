"""How a step comes from Python into compiled code: in one call, with all that must be checked.

numba_bundle.py does the same for many calls of a rule together.

A plan holds what a rule's steps have in common: how many arrays and coefficients there are, and
the address of its loop for each dtype. A job is what such a loop reads: the addresses of the
arrays' elements, then the coefficients.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from ..compiling import python_text
from ..compiling.jit import njit
from ..crew.atomics import call, pointer
from ..crew.crew import HELPED
from ..rule import Rule
from ..simd.half import why_no_half
from ..usable import numba_usable
from .numba_fields import DTYPES, ITEMSIZES, TABLE, TABLE_WORDS, items, read_arrays, read_floats
from .numba_loops import FIRST_SCALAR, shared_loop

DONE, UNFIT, UNCOMPILED, LARGE, MIXED = range(5)
# Words of a plan: where TABLE lies, numbers of arrays and coefficients, loops, one job.
KNOWN, ARRAYS, COEFFICIENTS, LOOPS, JOB = 0, 1, 2, 3, 8
WORDS = 64
INT64, FLOAT64 = types.int64, types.float64


class Plan:
    """Of a rule.

    Attributes:
        address: of its words, which stay where they are.
        words: how many a job has.
    """

    __slots__ = ("_words", "address", "rule", "words")

    def __init__(self, rule: Rule) -> None:
        arrays = len(python_text.array_names(rule))
        coefficients = len(python_text.scalar_names(rule))
        self.rule, self.words = rule, FIRST_SCALAR + coefficients
        self._words = np.zeros(WORDS, np.int64)
        self._words[:3] = TABLE.ctypes.data, arrays, coefficients
        self.address: int = self._words.ctypes.data

    def compile(self, dtype: np.dtype[Any]) -> bool:
        """Make ready for arrays of `dtype`; False where there can be no loop for it."""
        if not numba_usable() or why_no_half(dtype.char):
            return False
        self._words[LOOPS + DTYPES.index(dtype)] = shared_loop(self.rule, dtype.name).address
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
