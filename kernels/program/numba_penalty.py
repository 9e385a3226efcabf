"""Penalties on weights, and the norm of gradients, in a program."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ..compiling.jit import once
from ..compiling.specialize import specialize
from ..crew.atomics import pointer
from ..crew.board import STOP
from ..gradient_norm import LEAST
from ..simd.loops import c_function, reduction
from ..simd.memory import memory, record
from ..simd.sum_of_squares import sum_of_squares
from .program import Program
from .stops import CARE, NOT_FINITE

NUMBER: Any = np.float32
SIZE: Any = None
DERIVATIVE: Any = None
JOB = np.dtype(
    [(name, "i8") for name in ("weights", "gradients", "size", "loss", "clock")]
    + [("factor", "f8"), ("slope", "f8")]
)
LOSS = 3
NORM = np.dtype(
    [(name, "i8") for name in ("gradients", "size", "scales", "count", "stride", "clock")]
    + [("most", "f8")]
)


@reduction
def l2_size(w: Any) -> float:
    total = 0.0
    for i in range(w.size):
        total += np.float64(w[i]) * np.float64(w[i])
    return total


@reduction
def l2_derivative(w: Any, g: Any, slope: Any) -> None:
    for i in range(w.size):
        g[i] += w[i] * slope


@reduction
def l1_size(w: Any) -> float:
    total = 0.0
    for i in range(w.size):
        total += abs(np.float64(w[i]))
    return total


@reduction
def l1_derivative(w: Any, g: Any, slope: Any) -> None:
    for i in range(w.size):
        g[i] += slope if w[i] > 0 else (-slope if w[i] < 0 else w[i])


def penalty(low: Any, high: Any, place: Any) -> None:
    """Add the penalty to the loss, and its derivative to the gradients."""
    job = record(place, JOB)
    w, g = memory(job.weights, job.size, NUMBER), memory(job.gradients, job.size, NUMBER)
    loss = carray(pointer(job.loss), (1,), np.float64)
    loss[0] += job.factor * SIZE(w)
    DERIVATIVE(w, g, NUMBER(job.slope))
    if not abs(loss[0]) < np.inf:
        carray(pointer(job.clock), (STOP + 1,), np.int64)[STOP] = NOT_FINITE


def clip(low: Any, high: Any, place: Any) -> None:
    """Scale the groups' factors on gradients down, where their norm is above `most`."""
    job = record(place, NORM)
    total = sum_of_squares(memory(job.gradients, job.size, NUMBER))
    scales = carray(pointer(job.scales), (job.count * job.stride,), np.float64)
    if total != 0.0 and not LEAST <= total < np.inf:
        carray(pointer(job.clock), (STOP + 1,), np.int64)[STOP] = CARE
        return
    norm = abs(scales[0]) * np.sqrt(total)
    if norm > job.most:
        for k in range(0, scales.size, job.stride):
            scales[k] *= job.most / norm


@once
def _compiled(name: str, kind: str) -> Any:
    names: dict[str, Any] = {"NUMBER": np.dtype(kind).type}
    function = clip
    if name != "clip":
        function = penalty
        names |= {"SIZE": globals()[f"{name}_size"], "DERIVATIVE": globals()[f"{name}_derivative"]}
    return c_function(specialize(function, **names))


def add_penalty(
    program: Program, name: str, weights: np.ndarray, gradients: np.ndarray, factor: float,
    slope: float, loss: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """loss += factor size(weights); gradients += slope derivative(weights); "l1" or "l2".

    Returns the job, whose word LOSS is the address of the loss.
    """
    job = np.zeros(1, JOB)
    job["weights"], job["gradients"] = weights.ctypes.data, gradients.ctypes.data
    job["size"], job["loss"], job["clock"] = (
        weights.size,
        loss.ctypes.data,
        program.asked.ctypes.data,
    )
    job["factor"], job["slope"] = factor, slope
    function = _compiled(name, weights.dtype.char).address
    program.add(function, job, weights, gradients, loss, name="penalty")
    return job.view(np.int64)


def add_clip(
    program: Program, gradients: np.ndarray, most: float, coefficients: np.ndarray
) -> np.ndarray:
    """Each group's factor *= min(1, most / norm), norm being |factor| times that of the flat
    `gradients`; a row of `coefficients` begins with a group's factor, whose sign alone is its own.
    """
    job = np.zeros(1, NORM)
    job["gradients"], job["size"] = gradients.ctypes.data, gradients.size
    job["scales"], (job["count"], job["stride"]) = coefficients.ctypes.data, coefficients.shape
    job["clock"], job["most"] = program.asked.ctypes.data, most
    function = _compiled("clip", gradients.dtype.char).address
    program.add(function, job, gradients, coefficients, name="clip")
    return job
