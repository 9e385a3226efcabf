"""What the tasks of an operation over rows are told."""

from __future__ import annotations

import numpy as np

HEIGHT, TASKS, ROWS, GROUPS, COLUMNS, INNER, REPEATED, SEEN, RESULT, ARRAYS = range(10)
"""Words of a job: `Plan`; how many of the arrays of elements loops see, the number of the result,
the number of all arrays."""
FIRST = 10
"""The word from which on arrays' addresses follow: those of elements, vectors, `given`, `kept`, the
sums of tasks, `added`; then come the numbers of the call, in double."""


def is_in_place(job: np.ndarray) -> bool:
    """Whether the result of a job whose addresses are there replaces what is read."""
    places = job[FIRST : FIRST + int(job[RESULT]) + 1].tolist()
    return places[-1] in places[:-1]
