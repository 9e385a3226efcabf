"""Losses of number targets in a program, by what each makes of one element."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ...compiling.jit import once
from ...compiling.specialize import specialize
from ...crew.atomics import pointer
from ...simd.loops import c_function, inline
from ...simd.memory import record
from ..program import Program
from .numba_loss_job import JOB, add_loss, tell

NUMBER: Any = np.float32
FORMULA: Any = None
OF_LABELS = False

# Each gives (loss, its derivative, metric) of an output and its target, all in NUMBER.


def squared_error(z: Any, y: Any, setting: Any) -> Any:
    """The metric is |z - y|."""
    difference = z - y
    return difference * difference, difference + difference, abs(difference)


def huber(z: Any, y: Any, setting: Any) -> Any:
    """The same; straight from `setting` on."""
    d = z - y
    c = setting if d > setting else (-setting if d < -setting else d)
    return c * (d - c / NUMBER(2)), c, abs(d)


def poisson(z: Any, y: Any, setting: Any) -> Any:
    """The metric is |exp(z) - y|."""
    rate = np.exp(z)
    loss = rate
    if y > NUMBER(0):
        d = z - np.log(y)
        loss = y * (np.expm1(d) - d) if abs(d) < NUMBER(1) else rate - (y + y * d)
    return loss, rate - y, abs(rate - y)


def binary_cross_entropy(z: Any, y: Any, setting: Any) -> Any:
    """The metric is whether the label is right."""
    zero, one = NUMBER(0), NUMBER(1)
    e = np.exp(-abs(z))
    a, rest = (one, e) if z >= zero else (e, one)
    gradient = ((one - y) * a - y * rest) / (one + e)
    right = one if (z > zero) == (y + y > one) else zero
    return max(z, zero) - z * y + np.log1p(e), gradient, right


LABELS = {"binary_cross_entropy"}
"""Whose row is the sum of its elements' losses, and is right where all of them are; a row of others
is the mean of its elements, loss and metric."""


def number_loss(low: Any, high: Any, place: Any) -> None:
    job = record(place, JOB)
    rows, width = job.rows, job.width
    output = carray(pointer(job.output), (rows, width), NUMBER)
    targets = carray(pointer(job.targets), (rows, width), NUMBER)
    gradient = carray(pointer(job.gradient), (rows, width), NUMBER)
    weights = carray(pointer(job.weights), (rows,), NUMBER)
    setting, shared = NUMBER(job.setting), 1 if OF_LABELS else width
    total, metric = 0.0, 0.0
    for i in range(rows):
        factor = NUMBER(1.0 / (rows * shared))
        if job.weights:
            factor *= weights[i]
        least = NUMBER(1)
        for j in range(width):
            loss, slope, measured = FORMULA(output[i, j], targets[i, j], setting)
            gradient[i, j] = slope * factor
            total += loss * factor
            if OF_LABELS:
                least = min(least, measured)
            else:
                metric += measured
        if OF_LABELS:
            metric += least
    tell(job, total, metric / shared)


@once
def _compiled(name: str, kind: str) -> Any:
    number = np.dtype(kind).type
    formula = inline(specialize(globals()[name], NUMBER=number))
    names = {"NUMBER": number, "FORMULA": formula, "OF_LABELS": name in LABELS}
    return c_function(specialize(number_loss, **names))


def loss_of_numbers(
    program: Program, name: str, output: np.ndarray, targets: np.ndarray,
    weights: np.ndarray | None, gradient: np.ndarray, loss: np.ndarray, metric: np.ndarray,
    setting: float,
) -> np.ndarray:  # fmt: skip
    """The mean loss, the metric added up over rows, and the gradient.

    Returns the job, as `add_loss` does.
    """
    function = _compiled(name, output.dtype.char).address
    given = (output, targets, weights, gradient, loss, metric)
    return add_loss(program, function, *given, "loss", setting)
