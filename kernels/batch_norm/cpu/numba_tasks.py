"""The tasks of batch normalization on the CPU: what a thread does with one block of one part.

`forward`, `inference` and `backward` are compiled once for each dtype, with a residual and without
(the names in capitals are replaced then), as C functions that the crew of threads calls with a job
(numba_job.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...simd.loops import copy, part
from ...simd.memory import memory, record, span
from .numba_beside import beside, given, nothing
from .numba_coefficients import finish_backward, finish_forward, finish_inference, start_backward
from .numba_geometry import run_of, spread, task_of, vector
from .numba_job import ALL, APPLY, FINISH, JOB, START, SUM, plan_of
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
BESIDE: Any = nothing  # `memory` where there is a residual

TILE = 2048  # elements that go through a scratch array where the result replaces an input


def forward(low: Any, high: Any, place: Any) -> None:
    """y, what backward needs and the running statistics, for the tasks from low to high."""
    job = record(place, JOB)
    plan, step, channels = plan_of(job), job.step, job.channels
    relu, in_place = job.relu != 0, job.y == job.x or job.y == job.residual
    x, y = memory(job.x, plan.total, STORED), memory(job.y, plan.total, STORED)
    residual = BESIDE(job.residual, plan.total, STORED)
    gamma, beta = memory(job.gamma, channels, COMPUTED), memory(job.beta, channels, COMPUTED)
    mean, var = memory(job.mean, channels, COMPUTED), memory(job.var, channels, COMPUTED)
    work = memory(job.work, 6 * channels, COMPUTED)
    kept, coefficients = span(work, 0, 3 * channels), span(work, 3 * channels, 6 * channels)
    sums = memory(job.sums, 2 * plan.parts * channels, np.float64)
    zero, center, numbers = COMPUTED(0), np.empty(plan.group, COMPUTED), np.empty(2 * plan.group)
    per = np.empty(0 if plan.planes else ROLES * SKEW, COMPUTED)
    scratch = np.empty(TILE if in_place else 0, STORED)
    for number in range(low, high):
        task = task_of(plan, number, job.threads if step == APPLY else 0)
        if step in (ALL, SUM):
            moments(plan, task, x, zero, center, numbers, per, sums)
        if step in (ALL, FINISH) and task.part == 0:
            finish_forward(
                job, plan, task, gamma, beta, sums, numbers, kept, coefficients, mean, var
            )
        if step in (ALL, APPLY):
            apply_forward(plan, task, x, residual, y, coefficients, zero, relu, per, scratch)


def inference(low: Any, high: Any, place: Any) -> None:
    """y from running statistics, for the tasks from low to high."""
    job = record(place, JOB)
    plan, step, channels = plan_of(job), job.step, job.channels
    relu, in_place = job.relu != 0, job.y == job.x or job.y == job.residual
    x, y = memory(job.x, plan.total, STORED), memory(job.y, plan.total, STORED)
    residual = BESIDE(job.residual, plan.total, STORED)
    gamma, beta = memory(job.gamma, channels, COMPUTED), memory(job.beta, channels, COMPUTED)
    mean, var = memory(job.mean, channels, COMPUTED), memory(job.var, channels, COMPUTED)
    coefficients = memory(job.work, 3 * channels, COMPUTED)
    zero, numbers = COMPUTED(0), np.empty(2 * plan.group)
    per = np.empty(0 if plan.planes else ROLES * SKEW, COMPUTED)
    scratch = np.empty(TILE if in_place else 0, STORED)
    for number in range(low, high):
        task = task_of(plan, number, job.threads if step == APPLY else 0)
        if step in (ALL, FINISH) and task.part == 0:
            finish_inference(job, plan, task, gamma, beta, mean, var, numbers, coefficients)
        if step in (ALL, APPLY):
            apply_forward(plan, task, x, residual, y, coefficients, zero, relu, per, scratch)


def backward(low: Any, high: Any, place: Any) -> None:
    """dx, dgamma and dbeta, for the tasks from low to high."""
    job = record(place, JOB)
    plan, step, channels = plan_of(job), job.step, job.channels
    relu, in_place = job.relu != 0, job.y == job.x or (job.y == job.dy and job.dz == 0)
    x, dy = memory(job.x, plan.total, STORED), memory(job.dy, plan.total, STORED)
    dx = memory(job.y, plan.total, STORED)
    y, dz = BESIDE(job.residual, plan.total, STORED), BESIDE(job.dz, plan.total, STORED)
    gamma, beta = memory(job.gamma, channels, COMPUTED), memory(job.beta, channels, COMPUTED)
    kept = memory(job.kept, 3 * channels, COMPUTED)
    work = memory(job.work, 7 * channels, COMPUTED)
    result, coefficients = span(work, 0, 2 * channels), span(work, 2 * channels, 7 * channels)
    sums = memory(job.sums, 2 * plan.parts * channels, np.float64)
    zero, numbers = COMPUTED(0), np.empty(2 * plan.group)
    per = np.empty(0 if plan.planes else ROLES * SKEW, COMPUTED)
    scratch = np.empty(TILE if in_place else 0, STORED)
    for number in range(low, high):
        task = task_of(plan, number, job.threads if step in (ALL, SUM) else 0)
        if step in (ALL, START) and task.part == 0:
            start_backward(plan, task, gamma, beta, kept, coefficients)
        if step in (ALL, SUM):
            products(plan, task, dy, y, dz, x, coefficients, zero, relu, numbers, per, sums)
        if step in (ALL, FINISH) and task.part == 0:
            finish_backward(job, plan, task, sums, kept, coefficients, result)
        if step in (ALL, APPLY):
            apply_backward(plan, task, given(dz, dy), x, dx, coefficients, zero, relu, per, scratch)


@part
def apply_forward(
    plan: Any, task: Any, x: Any, residual: Any, y: Any, coefficients: Any, zero: Any, relu: bool,
    per: Any, scratch: Any,
) -> None:  # fmt: skip
    """y of one task, by way of `scratch` where y is x or the residual, which may be None."""
    n, in_place = plan.channels, scratch.size > 0
    if plan.planes:
        for row in range(task.low, task.high):
            for c in range(task.first, task.end):
                start, end = run_of(plan, row, c, c + 1)
                of = (
                    coefficients[CENTER * n + c],
                    coefficients[SCALE * n + c],
                    coefficients[SHIFT * n + c],
                )
                step = TILE if in_place else end - start
                while start < end:
                    stop = min(start + step, end)
                    piece = span(scratch, 0, stop - start) if in_place else span(y, start, stop)
                    more = beside(residual, start, stop)
                    normalize(span(x, start, stop), more, piece, of, zero, relu)
                    if in_place:
                        copy(piece, span(y, start, stop))
                    start = stop
        return
    start, end = run_of(plan, 0, task.first, task.end)
    for role in (CENTER, SCALE, SHIFT):
        spread(
            vector(coefficients, role, plan, task), plan.inner, columns_of(per, role, end - start)
        )
    for row in range(task.low, task.high):
        start, end = run_of(plan, row, task.first, task.end)
        piece = span(scratch, 0, end - start) if in_place else span(y, start, end)
        normalize(span(x, start, end), beside(residual, start, end), piece, per, zero, relu)
        if in_place:
            copy(piece, span(y, start, end))


@part
def apply_backward(
    plan: Any, task: Any, dy: Any, x: Any, dx: Any, coefficients: Any, zero: Any, relu: bool,
    per: Any, scratch: Any,
) -> None:  # fmt: skip
    """dx of one task, by way of `scratch` where dx is x or dy."""
    n, in_place = plan.channels, scratch.size > 0
    if plan.planes:
        for row in range(task.low, task.high):
            for c in range(task.first, task.end):
                start, end = run_of(plan, row, c, c + 1)
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
    start, end = run_of(plan, 0, task.first, task.end)
    for role in (CENTER, SCALE, SHIFT, SLOPE, OFFSET):
        spread(
            vector(coefficients, role, plan, task), plan.inner, columns_of(per, role, end - start)
        )
    for row in range(task.low, task.high):
        start, end = run_of(plan, row, task.first, task.end)
        piece = span(scratch, 0, end - start) if in_place else span(dx, start, end)
        differentiate(span(dy, start, end), span(x, start, end), piece, per, zero, relu)
        if in_place:
            copy(piece, span(dx, start, end))
