"""Engine "numba": operations over rows in SIMD loops, many rows shared by the crew of threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend import Array
from ...crew.board import run_alone
from ...crew.crew import HELPED, SHARED, get_crew
from ...simd.half import why_no_half
from ..contract import Arrays, RowsEngine
from ..skeleton import Rows, Shape
from .numba_entry import KNOWN, take
from .numba_job import FIRST
from .numba_prepared import Ready, constant, function_for, prepared

_NO_SUMS = np.empty(0)


class NumbaRows(RowsEngine):
    """One call of compiled code; large arrays are shared by the crew."""

    name = "numba"

    def missing(self, kind: str) -> str:
        return why_no_half(kind)

    def run(self, rows: Rows, shape: Shape, arrays: Arrays, numbers: tuple[float, ...]) -> None:
        elements, vectors, given, kept, added = arrays
        char = elements[0].dtype.char
        job, ready = prepared(rows, shape, char, numbers)
        job = job.copy()
        if ready.repeated > 1 or not all(each is not None for each in vectors):
            columns = zip(rows.vectors.values(), vectors, strict=True)
            vectors = tuple([_vector(each, ready, char, value) for value, each in columns])
        sums = np.empty(ready.sums) if ready.sums else _NO_SUMS
        together = (*elements, *vectors, given, kept, sums, added)
        nbytes = elements[0].nbytes * len(elements)
        alone = nbytes < HELPED
        if not take(KNOWN, id(together), job, ready.function if alone else 0, ready.join):
            job[FIRST : FIRST + len(together)] = [each.ctypes.data for each in together]
        elif alone:
            return
        function = function_for(rows, char, ready, job)
        self._share(ready._replace(function=function), job, together, elements[0].size, nbytes)

    @staticmethod
    def _share(ready: Ready, job: Array, kept: Any, size: int, nbytes: int) -> None:
        """Run a job by the crew."""
        crew, wake = get_crew(), nbytes >= SHARED
        if nbytes < HELPED:
            crew.alone(ready.function, ready.tasks, job)
        else:
            crew.run(ready.function, ready.tasks, job, kept, 1, elements=size, wake=wake)
        if ready.join:
            run_alone(ready.join, 1, job.ctypes.data)


def _vector(given: Array | None, ready: Ready, char: str, default: float) -> Array:
    if given is None:
        return constant(default, ready.length, char)
    return given if ready.repeated == 1 else np.repeat(given, ready.repeated)
