"""What a rule's steps have in common when they come from Python into compiled code.

numba_entry.py takes one step so, and numba_bundle.py many calls of a rule together.

A plan holds what a rule's steps have in common: how many arrays and coefficients there are, and
the address of its loop for each dtype. A job is what such a loop reads: the addresses of the
arrays' elements, then the coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..compiling import python_text
from ..rule import Rule
from ..simd.half import why_no_half
from ..usable import numba_usable
from .numba_fields import DTYPES, TABLE
from .numba_loops import FIRST_SCALAR, shared_loop

DONE, UNFIT, UNCOMPILED, LARGE, MIXED = range(5)
# Words of a plan: where TABLE lies, numbers of arrays and coefficients, loops, one job.
KNOWN, ARRAYS, COEFFICIENTS, LOOPS, JOB = 0, 1, 2, 3, 8
WORDS = 64


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


def job_of(rule: Rule, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """A job with these arrays, and with room for the coefficients: for whom knows that they fit."""
    job = np.zeros(plan_of(rule).words, np.int64)
    job[: len(arrays)] = [each.ctypes.data for each in arrays]
    return job
