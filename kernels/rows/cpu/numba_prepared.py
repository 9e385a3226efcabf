"""What calls of one operation over rows of one shape have in common, worked out once."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...compiling.dtypes import COMPUTED
from ..skeleton import Rows, Shape
from .numba_job import FIRST, is_in_place
from .numba_loops import join, loops
from .plan import plan


class Ready(NamedTuple):
    """What calls of one shape have in common, beside a job.

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
) -> tuple[np.ndarray, Ready]:
    """A job without addresses, and the rest."""
    cut = plan(shape, bool(rows.added))
    count = len(rows.arrays) + len(rows.vectors) + 4
    values = 1.0 / shape.width, *numbers
    job = np.zeros(FIRST + count + len(values), np.int64)
    head = cut.height, cut.tasks, *cut.shape, cut.repeated, len(rows.elements)
    job[: len(head) + 2] = *head, len(rows.arrays) - 1, count
    job[FIRST + count :].view(np.float64)[:] = values
    ready = Ready(
        loops(rows, char, cut.in_planes, False),
        cut.in_planes,
        join(rows, char) if rows.added else 0,
        cut.tasks,
        cut.tasks * len(rows.added) * cut.shape.period,
        cut.shape.period,
        cut.repeated,
    )
    return job, ready


def function_for(rows: Rows, char: str, ready: Ready, job: np.ndarray) -> int:
    """The address of the C function for a job whose addresses are there."""
    return loops(rows, char, ready.planes, True) if is_in_place(job) else ready.function


@lru_cache(maxsize=64)
def constant(value: float, length: int, char: str) -> np.ndarray:
    return np.full(length, value, COMPUTED[char])
