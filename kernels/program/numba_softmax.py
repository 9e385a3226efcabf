"""Softmax cross-entropy in a program, with the number of rows that are right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from ..compiling.jit import cfunc, once
from ..compiling.specialize import specialize
from ..crew.atomics import pointer
from ..crew.board import STOP
from ..simd.loops import OPTIONS, inline
from ..simd.memory import record
from ..softmax.cpu.numba_rows import softmax_rows
from .program import Program

STORED: Any = np.float32
INTEGERS = ("logits", "labels", "weights", "gradient", "rows", "width", "loss", "right", "clock")
JOB = np.dtype([(name, "i8") for name in INTEGERS])
"""Addresses; `loss` and `right` of one float64 each."""
LOSS, RIGHT = INTEGERS.index("loss"), INTEGERS.index("right")


@inline
def right_rows(logits: Any, labels: Any) -> int:
    """Rows whose first largest logit is that of their class."""
    rows, width = logits.shape
    count = 0
    for i in range(rows):
        best = 0
        for j in range(1, width):
            if logits[i, j] > logits[i, best]:
                best = j
        count += best == labels[i]
    return count


def plain(low: Any, high: Any, place: Any) -> None:
    job = record(place, JOB)
    shape = (job.rows, job.width)
    logits = carray(pointer(job.logits), shape, STORED)
    labels = carray(pointer(job.labels), (job.rows,), np.int64)
    gradient = carray(pointer(job.gradient), shape, STORED)
    carray(pointer(job.right), (1,), np.float64)[0] = right_rows(logits, labels)
    loss = softmax_rows(logits, labels, None, gradient)
    carray(pointer(job.loss), (1,), np.float64)[0] = loss
    if not abs(loss) < np.inf:
        carray(pointer(job.clock), (STOP + 1,), np.int64)[STOP] = 1


def weighted(low: Any, high: Any, place: Any) -> None:
    job = record(place, JOB)
    shape = (job.rows, job.width)
    logits = carray(pointer(job.logits), shape, STORED)
    labels = carray(pointer(job.labels), (job.rows,), np.int64)
    weights = carray(pointer(job.weights), (job.rows,), np.float64)
    gradient = carray(pointer(job.gradient), shape, STORED)
    carray(pointer(job.right), (1,), np.float64)[0] = right_rows(logits, labels)
    loss = softmax_rows(logits, labels, weights, gradient)
    carray(pointer(job.loss), (1,), np.float64)[0] = loss
    if not abs(loss) < np.inf:
        carray(pointer(job.clock), (STOP + 1,), np.int64)[STOP] = 1


@once
def _compiled(name: str, kind: str) -> Any:
    signature = types.void(types.int64, types.int64, types.voidptr)
    function = specialize(globals()[name], STORED=np.dtype(kind).type)
    return cfunc(signature, **OPTIONS)(function)


def cross_entropy(
    program: Program, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None,
    gradient: np.ndarray, loss: np.ndarray, right: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The mean loss, the rows that are right, and the gradient, which may be `logits`.

    A loss that is not finite asks the program to stop. Returns the job, whose words LOSS and RIGHT
    are the addresses of the first two.
    """
    job = np.zeros(1, JOB)
    given = (logits, labels, weights, gradient)
    places = [0 if array is None else array.ctypes.data for array in given]
    values = (
        *places,
        *logits.shape,
        loss.ctypes.data,
        right.ctypes.data,
        program.asked.ctypes.data,
    )
    for name, value in zip(INTEGERS, values, strict=True):
        job[name] = value
    function = _compiled("plain" if weights is None else "weighted", logits.dtype.char)
    program.add(function.address, job, given, loss, right, name="softmax")
    return job.view(np.int64)
