"""The tasks of batch normalization on the CPU: what a thread does with one block of one part.

`forward` and `backward` are compiled once for each dtype, and with and without ReLU (the names in
capitals are replaced then), as C functions that the crew of threads calls with a job: the plan, a
phase, and the addresses and numbers that `numba_cpu.py` packs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ..crew.atomics import pointer
from ..simd.loops import copy, inline
from .cpu_plan import Plan
from .numba_coefficients import finish_backward, finish_forward, finish_inference, start_backward
from .numba_geometry import run_of, spread, task_of
from .numba_loops import (
    CENTER,
    OFFSET,
    ROLES,
    SCALE,
    SHIFT,
    SKEW,
    SLOPE,
    columns_of,
    differentiate,
    normalize,
)
from .numba_sums import moments, products

COMPUTED: Any = np.float32  # what is computed in
STORED: Any = np.float32  # what arrays hold: uint16 for float16
RELU = False

START, SUM, FINISH, APPLY, KEEP = 1, 2, 4, 8, 16
"""The phases of a job: all at once where blocks have one part. KEEP updates running statistics."""
PHASE, ADDRESS, THREADS, REALS, WORDS = 9, 10, 19, 20, 24
"""Words of a job: the plan comes first, its numbers last."""
TILE = 2048  # elements that go through a scratch array where the result replaces an input


@inline
def _array(words: Any, k: Any, shape: Any, kind: Any) -> Any:
    """The k-th array of a job."""
    return carray(pointer(words[ADDRESS + k]), shape, kind)


@inline
def _plan(words: Any) -> Any:
    return Plan(
        words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7], words[8]
    )


def forward(low: Any, high: Any, job: Any) -> None:
    """Moments, coefficients and y of the tasks from low to high."""
    words = carray(job, (WORDS,), np.int64)
    reals = carray(job, (WORDS,), np.float64)[REALS:]
    plan, phase = _plan(words), words[PHASE]
    total, channels = plan.total, plan.channels
    x, y = _array(words, 0, (total,), STORED), _array(words, 1, (total,), STORED)
    gamma, beta = _array(words, 2, (channels,), COMPUTED), _array(words, 3, (channels,), COMPUTED)
    mean, var = _array(words, 4, (channels,), COMPUTED), _array(words, 5, (channels,), COMPUTED)
    kept = _array(words, 6, (3, channels), COMPUTED)
    coefficients = _array(words, 7, (3, channels), COMPUTED)
    partial = _array(words, 8, (2, plan.parts, channels), np.float64)
    in_place = words[ADDRESS] == words[ADDRESS + 1]
    zero, per = COMPUTED(0), np.empty(0 if plan.planes else ROLES * SKEW, COMPUTED)
    scratch = np.empty(TILE if in_place else 0, STORED)
    for number in range(low, high):
        task = task_of(plan, number, words[THREADS] if phase == APPLY else 0)
        if phase & SUM:
            own = partial[:, task.part, task.first : task.end]
            center = np.empty(task.end - task.first, COMPUTED)
            moments(x, plan, task, zero, center, per, own[0], own[1])
        if phase & FINISH and task.part == 0:
            if reals[3] > 0.0:
                finish_forward(
                    plan, task, partial, gamma, beta, reals, coefficients, kept, mean, var,
                    phase & KEEP != 0,
                )  # fmt: skip
            else:
                finish_inference(task, mean, var, gamma, beta, reals[0], coefficients)
        if not phase & APPLY:
            continue
        if plan.planes:
            for row in range(task.low, task.high):
                for c in range(task.first, task.end):
                    start, end = run_of(plan, row, c, c + 1)
                    of = (coefficients[CENTER, c], coefficients[SCALE, c], coefficients[SHIFT, c])
                    if in_place:
                        for k in range(start, end, TILE):
                            stop = min(k + TILE, end)
                            piece = scratch[: stop - k]
                            normalize(x[k:stop], piece, of, zero, RELU)
                            copy(piece, y[k:stop])
                    else:
                        normalize(x[start:end], y[start:end], of, zero, RELU)
            continue
        start, end = run_of(plan, 0, task.first, task.end)
        for role in (CENTER, SCALE, SHIFT):
            vector = coefficients[role, task.first : task.end]
            spread(vector, plan.inner, columns_of(per, role, end - start))
        for row in range(task.low, task.high):
            start, end = run_of(plan, row, task.first, task.end)
            piece = scratch[: end - start] if in_place else y[start:end]
            normalize(x[start:end], piece, per, zero, RELU)
            if in_place:
                copy(piece, y[start:end])


def backward(low: Any, high: Any, job: Any) -> None:
    """Sums and dx of the tasks from low to high."""
    words = carray(job, (WORDS,), np.int64)
    m = carray(job, (WORDS,), np.float64)[REALS + 3]
    plan, phase = _plan(words), words[PHASE]
    total, channels = plan.total, plan.channels
    x, dx = _array(words, 0, (total,), STORED), _array(words, 1, (total,), STORED)
    gamma, beta = _array(words, 2, (channels,), COMPUTED), _array(words, 3, (channels,), COMPUTED)
    dy, kept = _array(words, 4, (total,), STORED), _array(words, 5, (3, channels), COMPUTED)
    result = _array(words, 6, (2, channels), COMPUTED)
    coefficients = _array(words, 7, (5, channels), COMPUTED)
    sums = _array(words, 8, (plan.parts, 2, channels), np.float64)
    target = words[ADDRESS + 1]
    in_place = target == words[ADDRESS] or target == words[ADDRESS + 4]
    zero, per = COMPUTED(0), np.empty(0 if plan.planes else ROLES * SKEW, COMPUTED)
    scratch = np.empty(TILE if in_place else 0, STORED)
    for number in range(low, high):
        task = task_of(plan, number, words[THREADS] if phase & SUM else 0)
        if phase & START and task.part == 0:
            start_backward(task, gamma, beta, kept, coefficients)
        if phase & SUM:
            own = sums[task.part, :, task.first : task.end]
            products(dy, x, plan, task, coefficients, zero, RELU, per, own)
        if phase & FINISH and task.part == 0:
            finish_backward(plan, task, sums, m, kept, coefficients, result)
        if not phase & APPLY:
            continue
        if plan.planes:
            for row in range(task.low, task.high):
                for c in range(task.first, task.end):
                    start, end = run_of(plan, row, c, c + 1)
                    of = (
                        coefficients[CENTER, c],
                        coefficients[SCALE, c],
                        coefficients[SHIFT, c],
                        coefficients[SLOPE, c],
                        coefficients[OFFSET, c],
                    )
                    if in_place:
                        for k in range(start, end, TILE):
                            stop = min(k + TILE, end)
                            piece = scratch[: stop - k]
                            differentiate(dy[k:stop], x[k:stop], piece, of, zero, RELU)
                            copy(piece, dx[k:stop])
                    else:
                        differentiate(dy[start:end], x[start:end], dx[start:end], of, zero, RELU)
            continue
        start, end = run_of(plan, 0, task.first, task.end)
        for role in (CENTER, SCALE, SHIFT, SLOPE, OFFSET):
            vector = coefficients[role, task.first : task.end]
            spread(vector, plan.inner, columns_of(per, role, end - start))
        for row in range(task.low, task.high):
            start, end = run_of(plan, row, task.first, task.end)
            piece = scratch[: end - start] if in_place else dx[start:end]
            differentiate(dy[start:end], x[start:end], piece, per, zero, RELU)
            if in_place:
                copy(piece, dx[start:end])
