"""Softmax cross-entropy in a program, with the number of rows that are right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ...compiling.jit import once
from ...compiling.specialize import specialize
from ...crew.atomics import call, pointer
from ...simd.loops import c_function, inline
from ...simd.memory import memory, record
from ...softmax.cpu import numba_rows
from ..program import Program
from .numba_loss_job import JOB, add_loss, tell

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


def walk(low: Any, high: Any, place: Any) -> None:
    job = record(place, JOB)
    logits = carray(pointer(job.output), (job.rows, job.width), STORED)
    labels = memory(job.targets, job.rows, np.int64)
    right = right_rows(logits, labels)  # before the gradient, which may replace them
    room = np.empty(1, numba_rows.JOB)
    rows = room[0]
    rows.logits, rows.labels, rows.weights = job.output, job.targets, job.weights
    rows.gradient, rows.rows, rows.width = job.gradient, job.rows, job.width
    rows.smoothing = job.setting
    call(job.inner, 0, 1, room.ctypes.data)
    tell(job, rows.loss, right)


@once
def _compiled(char: str) -> int:
    return int(c_function(specialize(walk, STORED=np.dtype(char).type)).address)


def cross_entropy(
    program: Program, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None,
    gradient: np.ndarray, loss: np.ndarray, right: np.ndarray, label_smoothing: float,
) -> np.ndarray:  # fmt: skip
    """The mean loss, the rows that are right, and the gradient.

    Returns the job, as `add_loss` does.
    """
    char = logits.dtype.char
    given = (logits, labels, weights, gradient, loss, right)
    inner = numba_rows.compiled(char)
    return add_loss(program, _compiled(char), *given, "softmax", label_smoothing, inner)
