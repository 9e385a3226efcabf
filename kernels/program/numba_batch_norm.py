"""Batch normalization in a program."""

from __future__ import annotations

import numpy as np

from ..batch_norm.contract import How, Running
from ..batch_norm.cpu.numba_cpu import (
    WHOLE,
    Call,
    backward_call,
    backward_work,
    forward_call,
    forward_work,
    inference_call,
    kept_of,
)
from ..batch_norm.cpu.numba_job import ALL, start, template
from ..batch_norm.layout import layout_of
from .numba_words import copy
from .program import Program

NAME = "batch norm"
SHARED = 1 << 17  # bytes of x from which threads share the tasks


def how_of(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float, relu: bool) -> How:
    """How x, whose second axis is the channels', is normalized."""
    return How(layout_of(x, 1), gamma, beta, eps, relu)


def forward(
    program: Program, x: np.ndarray, y: np.ndarray, how: How, running: Running
) -> np.ndarray:
    """y of x by its own statistics, the running ones in place; what `backward` takes as `kept`."""
    work = forward_work(how, x.dtype.char)
    _add(program, forward_call(x, y, how, running, work))
    return kept_of(work)


def backward(
    program: Program, dy: np.ndarray, x: np.ndarray, dx: np.ndarray, how: How, kept: np.ndarray,
    gamma_grad: np.ndarray, beta_grad: np.ndarray,
) -> None:  # fmt: skip
    """dx, which may be dy, and the gradients of gamma and beta."""
    work, channels = backward_work(how, dy.dtype.char), how.layout.channels
    _add(program, backward_call(dy, x, dx, how, kept, work))
    copy(program, work[:channels], gamma_grad, NAME)
    copy(program, work[channels : 2 * channels], beta_grad, NAME)


def inference(
    program: Program, x: np.ndarray, y: np.ndarray, how: How, mean: np.ndarray, var: np.ndarray
) -> None:
    """y of x by running statistics."""
    _add(program, inference_call(x, y, how, mean, var))


def _add(program: Program, call: Call) -> None:
    cut = call.cut
    tasks, shared = cut.blocks * cut.parts, call.arrays[0].nbytes >= SHARED
    for step in call.steps if cut.parts > 1 else (ALL,):
        job = template(cut).copy()
        start(job, call.function, 0, step, 1, *call.options, *call.arrays)
        chunk = int(shared and tasks > 1 and step in WHOLE)
        program.add(call.function, job, *call.arrays, size=tasks, chunk=chunk, name=NAME)
