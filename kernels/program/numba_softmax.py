"""Softmax cross-entropy in a program, with the number of rows that are right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ..compiling.jit import once
from ..compiling.specialize import specialize
from ..crew.atomics import pointer
from ..simd.loops import c_function, inline
from ..simd.memory import record
from ..softmax.cpu.numba_rows import softmax_rows
from .numba_loss_job import JOB, add_loss, tell
from .program import Program

STORED: Any = np.float32


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


@inline
def walk(job: Any, weights: Any, smoothing: Any, number: Any) -> None:
    shape = (job.rows, job.width)
    logits = carray(pointer(job.output), shape, number)
    labels = carray(pointer(job.targets), (job.rows,), np.int64)
    gradient = carray(pointer(job.gradient), shape, number)
    right = right_rows(logits, labels)  # before the gradient, which may replace them
    tell(job, softmax_rows(logits, labels, weights, gradient, smoothing), right)


def plain(low: Any, high: Any, place: Any) -> None:
    walk(record(place, JOB), None, None, STORED)


def weighted(low: Any, high: Any, place: Any) -> None:
    job = record(place, JOB)
    walk(job, carray(pointer(job.weights), (job.rows,), np.float64), None, STORED)


def smoothed(low: Any, high: Any, place: Any) -> None:
    job = record(place, JOB)
    walk(job, None, job.setting, STORED)


def weighted_smoothed(low: Any, high: Any, place: Any) -> None:
    job = record(place, JOB)
    walk(job, carray(pointer(job.weights), (job.rows,), np.float64), job.setting, STORED)


@once
def _compiled(name: str, kind: str) -> Any:
    function = specialize(globals()[name], STORED=np.dtype(kind).type)
    return c_function(function)


def cross_entropy(
    program: Program, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None,
    gradient: np.ndarray, loss: np.ndarray, right: np.ndarray, label_smoothing: float,
) -> np.ndarray:  # fmt: skip
    """The mean loss, the rows that are right, and the gradient.

    Returns the job, as `add_loss` does.
    """
    form = "plain" if weights is None else "weighted"
    if label_smoothing:
        form = "smoothed" if weights is None else "weighted_smoothed"
    function = _compiled(form, logits.dtype.char).address
    given = (logits, labels, weights, gradient, loss, right)
    return add_loss(program, function, *given, "softmax", label_smoothing)
