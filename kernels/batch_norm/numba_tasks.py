"""The tasks of batch normalization on the CPU: what a thread does with one block of one part.

`forward`, `inference` and `backward` are compiled once for each dtype (the names in capitals are
replaced then), as C functions that the crew of threads calls with a job (numba_job.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..simd.loops import copy, part
from ..simd.memory import memory, record, span
from .numba_coefficients import finish_backward, finish_forward, finish_inference, start_backward
from .numba_geometry import run_of, spread, task_of, vector
from .numba_job import ALL, APPLY, FINISH, JOB, START, SUM
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

TILE = 2048  # elements that go through a scratch array where the result replaces an input


def forward(low: Any, high: Any, place: Any) -> None:
    """y, what backward needs and the running statistics, for the tasks from low to high."""
    job = record(place, JOB)
    step, channels = job.step, job.channels
    x, y = memory(job.x, job.total, STORED), memory(job.y, job.total, STORED)
    gamma, beta = memory(job.gamma, channels, COMPUTED), memory(job.beta, channels, COMPUTED)
    mean, var = memory(job.mean, channels, COMPUTED), memory(job.var, channels, COMPUTED)
    work = memory(job.work, 6 * channels, COMPUTED)
    kept, coefficients = span(work, 0, 3 * channels), span(work, 3 * channels, 6 * channels)
    sums = memory(job.sums, 2 * job.parts * channels, np.float64)
    zero, center, numbers = COMPUTED(0), np.empty(job.group, COMPUTED), np.empty(2 * job.group)
    per = np.empty(0 if job.planes else ROLES * SKEW, COMPUTED)
    scratch = np.empty(TILE, STORED)
    for number in range(low, high):
        task = task_of(job, number, step == APPLY)
        if step in (ALL, SUM):
            moments(job, task, x, zero, center, numbers, per, sums)
        if step in (ALL, FINISH) and task.part == 0:
            finish_forward(job, task, gamma, beta, sums, numbers, kept, coefficients, mean, var)
        if step in (ALL, APPLY):
            apply_forward(job, task, x, y, coefficients, zero, per, scratch)


def inference(low: Any, high: Any, place: Any) -> None:
    """y from running statistics, for the tasks from low to high."""
    job = record(place, JOB)
    step, channels = job.step, job.channels
    x, y = memory(job.x, job.total, STORED), memory(job.y, job.total, STORED)
    gamma, beta = memory(job.gamma, channels, COMPUTED), memory(job.beta, channels, COMPUTED)
    mean, var = memory(job.mean, channels, COMPUTED), memory(job.var, channels, COMPUTED)
    coefficients = memory(job.work, 3 * channels, COMPUTED)
    zero, numbers = COMPUTED(0), np.empty(2 * job.group)
    per = np.empty(0 if job.planes else ROLES * SKEW, COMPUTED)
    scratch = np.empty(TILE, STORED)
    for number in range(low, high):
        task = task_of(job, number, step == APPLY)
        if step in (ALL, FINISH) and task.part == 0:
            finish_inference(job, task, gamma, beta, mean, var, numbers, coefficients)
        if step in (ALL, APPLY):
            apply_forward(job, task, x, y, coefficients, zero, per, scratch)


def backward(low: Any, high: Any, place: Any) -> None:
    """dx, dgamma and dbeta, for the tasks from low to high."""
    job = record(place, JOB)
    step, channels = job.step, job.channels
    x, dy = memory(job.x, job.total, STORED), memory(job.dy, job.total, STORED)
    dx = memory(job.y, job.total, STORED)
    gamma, beta = memory(job.gamma, channels, COMPUTED), memory(job.beta, channels, COMPUTED)
    kept = memory(job.kept, 3 * channels, COMPUTED)
    work = memory(job.work, 7 * channels, COMPUTED)
    result, coefficients = span(work, 0, 2 * channels), span(work, 2 * channels, 7 * channels)
    sums = memory(job.sums, 2 * job.parts * channels, np.float64)
    zero, numbers = COMPUTED(0), np.empty(2 * job.group)
    per = np.empty(0 if job.planes else ROLES * SKEW, COMPUTED)
    scratch = np.empty(TILE, STORED)
    for number in range(low, high):
        task = task_of(job, number, step in (ALL, SUM))
        if step in (ALL, START) and task.part == 0:
            start_backward(job, task, gamma, beta, kept, coefficients)
        if step in (ALL, SUM):
            products(job, task, dy, x, coefficients, zero, numbers, per, sums)
        if step in (ALL, FINISH) and task.part == 0:
            finish_backward(job, task, sums, kept, coefficients, result)
        if step in (ALL, APPLY):
            apply_backward(job, task, dy, x, dx, coefficients, zero, per, scratch)


@part
def apply_forward(
    job: Any, task: Any, x: Any, y: Any, coefficients: Any, zero: Any, per: Any, scratch: Any
) -> None:
    """y of one task."""
    relu, n, in_place = job.relu != 0, job.channels, job.x == job.y
    if job.planes:
        for row in range(task.low, task.high):
            for c in range(task.first, task.end):
                start, end = run_of(job, row, c, c + 1)
                of = (
                    coefficients[CENTER * n + c],
                    coefficients[SCALE * n + c],
                    coefficients[SHIFT * n + c],
                )
                step = TILE if in_place else end - start
                while start < end:
                    stop = min(start + step, end)
                    piece = span(scratch, 0, stop - start) if in_place else span(y, start, stop)
                    normalize(span(x, start, stop), piece, of, zero, relu)
                    if in_place:
                        copy(piece, span(y, start, stop))
                    start = stop
        return
    start, end = run_of(job, 0, task.first, task.end)
    for role in (CENTER, SCALE, SHIFT):
        spread(vector(coefficients, role, job, task), job.inner, columns_of(per, role, end - start))
    for row in range(task.low, task.high):
        start, end = run_of(job, row, task.first, task.end)
        piece = span(scratch, 0, end - start) if in_place else span(y, start, end)
        normalize(span(x, start, end), piece, per, zero, relu)
        if in_place:
            copy(piece, span(y, start, end))


@part
def apply_backward(
    job: Any, task: Any, dy: Any, x: Any, dx: Any, coefficients: Any, zero: Any, per: Any,
    scratch: Any,
) -> None:  # fmt: skip
    """dx of one task."""
    relu, n, in_place = job.relu != 0, job.channels, job.y == job.x or job.y == job.dy
    if job.planes:
        for row in range(task.low, task.high):
            for c in range(task.first, task.end):
                start, end = run_of(job, row, c, c + 1)
                of = (
                    coefficients[CENTER * n + c],
                    coefficients[SCALE * n + c],
                    coefficients[SHIFT * n + c],
                    coefficients[SLOPE * n + c],
                    coefficients[OFFSET * n + c],
                )
                step = TILE if in_place else end - start
                while start < end:
                    stop = min(start + step, end)
                    piece = span(scratch, 0, stop - start) if in_place else span(dx, start, stop)
                    differentiate(
                        span(dy, start, stop), span(x, start, stop), piece, of, zero, relu
                    )
                    if in_place:
                        copy(piece, span(dx, start, stop))
                    start = stop
        return
    start, end = run_of(job, 0, task.first, task.end)
    for role in (CENTER, SCALE, SHIFT, SLOPE, OFFSET):
        spread(vector(coefficients, role, job, task), job.inner, columns_of(per, role, end - start))
    for row in range(task.low, task.high):
        start, end = run_of(job, row, task.first, task.end)
        piece = span(scratch, 0, end - start) if in_place else span(dx, start, end)
        differentiate(span(dy, start, end), span(x, start, end), piece, per, zero, relu)
        if in_place:
            copy(piece, span(dx, start, end))
