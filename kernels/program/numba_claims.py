"""Steps that don't need one another, such as a network's forward on rows: each is one thread's.

Every thread has a copy of the program, with buffers of its own, which its core's cache holds, and
claims one step after another; nothing is waited for but the last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import carray

from ..compiling.jit import once
from ..compiling.specialize import specialize
from ..crew.atomics import add, call, pointer
from ..crew.board import FUNCTION, JOB, SIZE, STEP
from ..crew.crew import get_crew
from ..simd.loops import c_function
from .blas import one_thread
from .recorder import Recorder

COPIES, BEGUN, END = range(3)
"""Words of a job: the address of `TABLE, ROWS, CLOCK` of each copy, and of steps, how many were
begun and how many there are."""
TABLE, ROWS, CLOCK = range(3)
WORDS = 5  # of an instruction
PATIENT = 1 << 24  # elements, as the crew counts them, for which a helper's last step is waited for


def claim_steps(low: Any, high: Any, place: Any) -> None:
    """Copies low to high work through the steps that no other has begun."""
    job = carray(place, (3,), np.int64)
    copies = carray(pointer(job[COPIES]), (high, 3), np.int64)
    for copy in range(low, high):
        table = carray(pointer(copies[copy, TABLE]), (copies[copy, ROWS], WORDS), np.int64)
        clock = carray(pointer(copies[copy, CLOCK]), (3,), np.int64)
        step = add(job, BEGUN, 1)
        while step < job[END]:
            clock[STEP] = step
            for row in range(copies[copy, ROWS]):
                call(table[row, FUNCTION], 0, table[row, SIZE], table[row, JOB])
            step = add(job, BEGUN, 1)


@once
def _compiled() -> Any:
    return c_function(specialize(claim_steps))


class Claims:
    """Copies of one program, a recorder each, whose steps threads claim."""

    def __init__(self, copies: Sequence[Recorder]) -> None:
        self._kept = [copy.program for copy in copies]
        self._tables = [program.table() for program in self._kept]
        pairs = zip(self._tables, self._kept, strict=True)
        rows = [(t.ctypes.data, len(t), program.clock.ctypes.data) for t, program in pairs]
        self._copies = np.array(rows, np.int64)

    def run(self, steps: int) -> None:
        """Work through steps 0 to `steps`, whatever the order."""
        job = np.array([self._copies.ctypes.data, 0, steps])
        function, number = _compiled().address, min(steps, len(self._copies))
        with one_thread():
            get_crew().run(function, number, job, self, chunk=1, elements=PATIENT)
