"""Losses of number targets in a program: squared error, and the cross-entropy of a logit."""

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
from .program import Program

NUMBER: Any = np.float32
FORMULA: Any = None
INTEGERS = ("output", "targets", "weights", "gradient", "rows", "width", "loss", "metric", "clock")
JOB = np.dtype([(name, "i8") for name in INTEGERS])
"""Addresses; `weights` is 0 for none, `loss` and `metric` of one float64 each."""
LOSS, METRIC = INTEGERS.index("loss"), INTEGERS.index("metric")


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
    carray(pointer(job.loss), (1,), np.float64)[0] = total
    carray(pointer(job.metric), (1,), np.float64)[0] = metric / width
    if not abs(total) < np.inf:
        carray(pointer(job.clock), (STOP + 1,), np.int64)[STOP] = 1


@once
def _compiled(name: str, kind: str) -> Any:
    signature = types.void(types.int64, types.int64, types.voidptr)
    names = {"NUMBER": np.dtype(kind).type, "FORMULA": inline(globals()[name])}
    return cfunc(signature, **OPTIONS)(specialize(number_loss, **names))


def loss_of_numbers(
    program: Program, name: str, output: np.ndarray, targets: np.ndarray,
    weights: np.ndarray | None, gradient: np.ndarray, loss: np.ndarray, metric: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The mean loss, the metric added up over rows, and the gradient, which may be `output`.

    A loss that is not finite asks the program to stop. Returns the job, whose words LOSS and METRIC
    are the addresses of the first two.
    """
    job = np.zeros(1, JOB)
    given = (output, targets, weights, gradient)
    places = [0 if array is None else array.ctypes.data for array in given]
    values = (
        *places,
        *output.shape,
        loss.ctypes.data,
        metric.ctypes.data,
        program.asked.ctypes.data,
    )
    for name_, value in zip(INTEGERS, values, strict=True):
        job[name_] = value
    function = _compiled(name, output.dtype.char).address
    program.add(function, job, given, loss, metric, name="loss")
    return job.view(np.int64)
