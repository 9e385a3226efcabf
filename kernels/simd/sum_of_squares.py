"""Reductions on the CPU, in one pass over memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiling.jit import njit


@njit(error_model="numpy", fastmath={"reassoc", "contract"})
def sum_of_squares(array: Any) -> float:
    """The sum of squares of a contiguous one-dimensional array, accumulated in float64."""
    total = 0.0
    for i in range(array.size):
        x = np.float64(array[i])
        total += x * x
    return total
