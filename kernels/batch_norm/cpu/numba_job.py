"""What the tasks of batch normalization on the CPU are told: a job, whose fields stand here alone.

Python makes a job of a plan, `start` packs the rest of it, and the tasks read it by name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ...compiling.jit import njit
from ...crew.atomics import call
from ...simd.loops import part
from ...simd.memory import address, record
from .plan import Plan

ALL, START, SUM, FINISH, APPLY = range(5)
"""The step that a job asks for: each task takes all in turn, or all tasks take one."""

ARRAYS = ("x", "dy", "y", "gamma", "beta", "mean", "var", "kept", "work", "sums")
BESIDE = ("residual", "dz")
INTEGERS = (*Plan._fields, "step", "threads", "relu", "averages", *ARRAYS, *BESIDE)
NUMBERS = ("eps", "momentum", "rest", "m")
JOB = np.dtype([(name, "i8") for name in INTEGERS] + [(name, "f8") for name in NUMBERS])
"""A plan; the step; the crew's threads; whether ReLU follows, and whether the running statistics
`mean` and `var` are averaged; the addresses of the arrays, and of those that only a job with a
residual has: the residual, or in a backward y, and dz; eps, momentum, 1 - momentum, and the values
of a channel."""
STEP = INTEGERS.index("step")
"""The word that says it."""


@lru_cache(maxsize=256)
def template(plan: Plan) -> np.ndarray:
    """A job of that plan, as words: copy it."""
    job = np.zeros(1, JOB)
    for name, value in plan._asdict().items():
        job[name] = value
    return job.view(np.int64)


@njit(error_model="numpy")
def start(
    job: Any, function: int, tasks: int, step: int, threads: int, relu: bool, averages: bool,
    eps: float, momentum: float, m: float, x: Any, dy: Any, y: Any, gamma: Any, beta: Any,
    mean: Any, var: Any, kept: Any, work: Any, sums: Any,
) -> None:  # fmt: skip
    """Pack a job, and run its first `tasks`.

    In Python ten addresses take longer than batch normalization of a small array.
    """
    it = record(address(job), JOB)
    it.step, it.threads, it.relu, it.averages = step, threads, relu, averages
    it.eps, it.momentum, it.rest, it.m = eps, momentum, 1.0 - momentum, m
    it.x, it.dy, it.y = address(x), address(dy), address(y)
    it.gamma, it.beta, it.mean, it.var = address(gamma), address(beta), address(mean), address(var)
    it.kept, it.work, it.sums = address(kept), address(work), address(sums)
    if tasks:
        call(function, 0, tasks, address(job))


@njit(error_model="numpy")
def put_beside(job: Any, residual: Any, dz: Any) -> None:
    """Pack what a job has with a residual; the rest of it follows."""
    it = record(address(job), JOB)
    it.residual, it.dz = address(residual), address(dz)


@part
def plan_of(job: Any) -> Any:
    """The plan of a job."""
    return Plan(
        job.total, job.length, job.rows, job.group, job.inner, job.channels, job.parts, job.blocks,
        job.planes,
    )  # fmt: skip
