"""Losses of number targets in a program: squared error, and the cross-entropy of a logit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ..compiling.jit import once
from ..compiling.specialize import specialize
from ..crew.atomics import pointer
from ..simd.loops import c_function, inline
from ..simd.memory import record
from .numba_loss_job import JOB, add_loss, tell
from .program import Program

NUMBER: Any = np.float32
FORMULA: Any = None


def squared_error(z: Any, y: Any, zero: Any, one: Any) -> Any:
    """(loss, its derivative, |z - y|) of one output."""
    difference = z - y
    return difference * difference, difference + difference, abs(difference)


def binary_cross_entropy(z: Any, y: Any, zero: Any, one: Any) -> Any:
    """(loss, its derivative, whether the row is right) of one logit."""
    e = np.exp(-abs(z))
    a, rest = (one, e) if z >= zero else (e, one)
    gradient = ((one - y) * a - y * rest) / (one + e)
    right = one if (z > zero) == (y + y > one) else zero
    return max(z, zero) - z * y + np.log1p(e), gradient, right


def number_loss(low: Any, high: Any, place: Any) -> None:
    job = record(place, JOB)
    rows, width = job.rows, job.width
    output = carray(pointer(job.output), (rows, width), NUMBER)
    targets = carray(pointer(job.targets), (rows, width), NUMBER)
    gradient = carray(pointer(job.gradient), (rows, width), NUMBER)
    weights = carray(pointer(job.weights), (rows,), NUMBER)
    total, metric, zero, one = 0.0, 0.0, NUMBER(0), NUMBER(1)
    for i in range(rows):
        factor = NUMBER(1.0 / (rows * width))
        if job.weights:
            factor *= weights[i]
        for j in range(width):
            loss, slope, measured = FORMULA(output[i, j], targets[i, j], zero, one)
            gradient[i, j] = slope * factor
            total += loss * factor
            metric += measured
    tell(job, total, metric / width)


@once
def _compiled(name: str, kind: str) -> Any:
    names = {"NUMBER": np.dtype(kind).type, "FORMULA": inline(globals()[name])}
    return c_function(specialize(number_loss, **names))


def loss_of_numbers(
    program: Program, name: str, output: np.ndarray, targets: np.ndarray,
    weights: np.ndarray | None, gradient: np.ndarray, loss: np.ndarray, metric: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The mean loss, the metric added up over rows, and the gradient.

    Returns the job, as `add_loss` does.
    """
    function = _compiled(name, output.dtype.char).address
    return add_loss(program, function, output, targets, weights, gradient, loss, metric, "loss")
