"""Engine "numba": operations over rows in SIMD loops, many rows shared by the crew of threads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ....backend import Array
from ...compiling.dtypes import COMPUTED
from ...crew.board import run_alone
from ...crew.crew import HELPED, SHARED, get_crew
from ...simd.half import why_no_half
from ..contract import Arrays, RowsEngine
from ..skeleton import Rows, Shape
from .numba_job import FIRST, KNOWN, is_in_place, take
from .numba_loops import join, loops
from .plan import plan

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
    def _share(ready: _Ready, job: Array, kept: Any, size: int, nbytes: int) -> None:
        """Run a job by the crew."""
        crew, wake = get_crew(), nbytes >= SHARED
        if nbytes < HELPED:
            crew.alone(ready.function, ready.tasks, job)
        else:
            crew.run(ready.function, ready.tasks, job, kept, 1, elements=size, wake=wake)
        if ready.join:
            run_alone(ready.join, 1, job.ctypes.data)


class _Ready(NamedTuple):
    """What calls of one shape have in common.

    Attributes:
        function: the address of a C function, where the result replaces nothing.
        planes: whether runs of elements share a column.
        join: the address of another; 0 where nothing is joined.
        sums: the length of the sums of all tasks.
        length, repeated: of vectors.
    """

    function: int
    planes: bool
    join: int
    tasks: int
    sums: int
    length: int
    repeated: int


@lru_cache(maxsize=256)
def prepared(
    rows: Rows, shape: Shape, char: str, numbers: tuple[float, ...]
) -> tuple[np.ndarray, _Ready]:
    """A job without addresses, and the rest."""
    cut = plan(shape, bool(rows.added))
    count = len(rows.arrays) + len(rows.vectors) + 4
    values = 1.0 / shape.width, *numbers
    job = np.zeros(FIRST + count + len(values), np.int64)
    head = cut.height, cut.tasks, *cut.shape, cut.repeated, len(rows.elements)
    job[: len(head) + 2] = *head, len(rows.arrays) - 1, count
    job[FIRST + count :].view(np.float64)[:] = values
    ready = _Ready(
        loops(rows, char, cut.in_planes, False),
        cut.in_planes,
        join(rows, char) if rows.added else 0,
        cut.tasks,
        cut.tasks * len(rows.added) * cut.shape.period,
        cut.shape.period,
        cut.repeated,
    )
    return job, ready


def function_for(rows: Rows, char: str, ready: _Ready, job: np.ndarray) -> int:
    """The address of the C function for a job whose addresses are there."""
    return loops(rows, char, ready.planes, True) if is_in_place(job) else ready.function


def _vector(given: Array | None, ready: _Ready, char: str, default: float) -> Array:
    if given is None:
        return constant(default, ready.length, char)
    return given if ready.repeated == 1 else np.repeat(given, ready.repeated)


@lru_cache(maxsize=64)
def constant(value: float, length: int, char: str) -> np.ndarray:
    return np.full(length, value, COMPUTED[char])
