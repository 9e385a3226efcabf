"""What instructions of losses share: their job, and how they tell what they found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ...crew.atomics import pointer
from ...crew.board import STOP
from ...simd.loops import inline
from ..program import Program
from ..stops import NOT_FINITE

INTEGERS = (
    "output", "targets", "weights", "gradient", "rows", "width", "loss", "metric", "clock", "inner",
)  # fmt: skip
JOB = np.dtype([*((name, "i8") for name in INTEGERS), ("setting", "f8")])
"""Addresses; `weights` is 0 for none, `loss` and `metric` of one float64 each, `inner` that of a
function that the instruction calls. `setting` is a number of the loss's own, such as where Huber's
turns straight."""
LOSS, METRIC = INTEGERS.index("loss"), INTEGERS.index("metric")


@inline
def tell(job: Any, loss: float, metric: float) -> None:
    """Write both down; a loss that is not finite asks the program to stop."""
    carray(pointer(job.loss), (1,), np.float64)[0] = loss
    carray(pointer(job.metric), (1,), np.float64)[0] = metric
    if not abs(loss) < np.inf:
        carray(pointer(job.clock), (STOP + 1,), np.int64)[STOP] = NOT_FINITE


def add_loss(
    program: Program, function: int, output: np.ndarray, targets: np.ndarray,
    weights: np.ndarray | None, gradient: np.ndarray, loss: np.ndarray, metric: np.ndarray,
    name: str, setting: float = 0.0, inner: int = 0,
) -> np.ndarray:  # fmt: skip
    """Put the instruction on a program; the job, whose words LOSS and METRIC are addresses."""
    job = np.zeros(1, JOB)
    given = (output, targets, weights, gradient)
    places = [0 if array is None else array.ctypes.data for array in given]
    told = [array.ctypes.data for array in (loss, metric, program.asked)]
    for field, value in zip(INTEGERS, (*places, *output.shape, *told, inner), strict=True):
        job[field] = value
    job["setting"] = setting
    program.add(function, job, given, loss, metric, name=name)
    return job.view(np.int64)
