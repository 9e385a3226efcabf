"""What Python calls of activations' compiled code: a whole call, alone or posted to the crew.

Tasks of a kind are one C function a dtype (`shared_forward`, `shared_backward`). The rest, compiled
once for a dtype (numba_compile.py), checks the arrays, writes a job, and calls that by its address.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ...crew.atomics import call
from ...crew.board import lead
from ...crew.crew import ENDED, REFUSED, UNENDED
from ...simd.half import store
from ...simd.loops import inline
from ...simd.memory import address, memory
from .numba_loops import add
from .numba_tasks import backward_tasks, cut, forward_tasks

COMPUTED: Any = np.float32  # what is computed in
STORED: Any = np.float32  # what arrays hold: uint16 for float16

WORDS = 11  # of a job: four addresses, three lengths, a backward's bias, and the options in double
BIAS, FIRST, SECOND = 7, 9, 10


# --- arguments ------------------------------------------------------------------------------------
@inline
def apart(a: Any, b: Any) -> bool:
    """Whether two contiguous arrays share no memory."""
    return a.ctypes.data + a.nbytes <= b.ctypes.data or b.ctypes.data + b.nbytes <= a.ctypes.data


@inline
def fit_forward(x: Any, bias: Any, y: Any) -> bool:
    """x and y are (rows, width) and bias is (width,), or empty for none; y may be x."""
    if x.size == 0 or y.shape != x.shape or not (bias.size == x.shape[1] or bias.size == 0):
        return False
    return (x.ctypes.data == y.ctypes.data or apart(x, y)) and apart(bias, y)


@inline
def fit_backward(dy: Any, y: Any, dz: Any, bias: Any, bias_grad: Any) -> bool:
    """dy, y and dz are (rows, width), bias and bias_grad are (width,), or empty for none; dz may be
    dy."""
    width = bias_grad.size
    if dy.size == 0 or y.shape != dy.shape or dz.shape != dy.shape:
        return False
    if not (width == dy.shape[1] or width == 0) or not apart(y, dz):
        return False
    if not (dy.ctypes.data == dz.ctypes.data or apart(dy, dz)):
        return False
    if not (bias.size == dy.shape[1] or bias.size == 0) or not apart(bias, dz):
        return False
    if not apart(bias_grad, dy) or not apart(bias_grad, bias):
        return False
    return apart(bias_grad, y) and apart(bias_grad, dz)


# --- the tasks of a kind --------------------------------------------------------------------------
def shared_forward(low: Any, high: Any, job: Any) -> None:
    words, reals = carray(job, (WORDS,), np.int64), carray(job, (WORDS,), np.float64)
    x, y = memory(words[0], words[4], STORED), memory(words[2], words[4], STORED)
    bias = memory(words[1], words[5], STORED)
    forward_tasks(x, bias, y, reals[FIRST], reals[SECOND], low, high)


def shared_backward(low: Any, high: Any, job: Any) -> None:
    words, reals = carray(job, (WORDS,), np.int64), carray(job, (WORDS,), np.float64)
    size, width, tasks = words[4], words[5], words[6]
    dy, y = memory(words[0], size, STORED), memory(words[1], size, STORED)
    dz, sums = memory(words[2], size, STORED), memory(words[3], tasks * width, np.float64)
    bias = memory(words[BIAS], words[BIAS + 1], STORED)
    backward_tasks(dy, y, dz, bias, sums, width, reals[FIRST], reals[SECOND], low, high)


# --- jobs: the number of tasks, or 0 if the arrays don't fit --------------------------------------
@inline
def write_forward(x: Any, bias: Any, y: Any, first: float, second: float, job: Any) -> int:
    if not fit_forward(x, bias, y):
        return 0
    job[0], job[1], job[2] = x.ctypes.data, bias.ctypes.data, y.ctypes.data
    job[4], job[5] = x.size, bias.size
    reals = memory(address(job), WORDS, np.float64)
    reals[FIRST], reals[SECOND] = first, second
    _, _, tasks = cut(x.size, max(1, bias.size))
    return tasks


@inline
def write_backward(
    dy: Any, y: Any, dz: Any, bias: Any, sums: Any, bias_grad: Any, first: float, second: float,
    job: Any,
) -> int:  # fmt: skip
    """`sums` are (tasks, width)."""
    if not fit_backward(dy, y, dz, bias, bias_grad):
        return 0
    tasks, width = sums.shape
    job[0], job[1], job[2] = dy.ctypes.data, y.ctypes.data, dz.ctypes.data
    job[3], job[4], job[5], job[6] = sums.ctypes.data, dy.size, width, tasks
    job[BIAS], job[BIAS + 1] = bias.ctypes.data, bias.size
    reals = memory(address(job), WORDS, np.float64)
    reals[FIRST], reals[SECOND] = first, second
    return tasks


# --- a whole call: True if it ran, False if it refused, before any write --------------------------
def forward(x: Any, bias: Any, y: Any, first: float, second: float, function: int) -> bool:
    job = np.empty(WORDS, np.int64)
    tasks = write_forward(x, bias, y, first, second, job)
    if tasks:
        call(function, 0, tasks, address(job))
    return tasks > 0


def backward(
    dy: Any, y: Any, dz: Any, bias: Any, bias_grad: Any, first: float, second: float, function: int
) -> bool:
    _, _, tasks = cut(max(1, dy.size), max(1, bias.size, bias_grad.size))
    sums, job = np.empty((tasks, bias_grad.size)), np.empty(WORDS, np.int64)
    if not write_backward(dy, y, dz, bias, sums, bias_grad, first, second, job):
        return False
    call(function, 0, tasks, address(job))
    finish(sums, bias_grad)
    return True


def finish(sums: Any, bias_grad: Any) -> None:
    """bias_grad = the sums of all tasks together."""
    total = sums[0]
    for task in range(1, sums.shape[0]):
        add(total, sums[task])
    for j in range(bias_grad.size):
        store(bias_grad, j, COMPUTED(total[j]))


# --- the same by the crew: REFUSED, ENDED or UNENDED ----------------------------------------------
def posted_forward(
    x: Any, bias: Any, y: Any, first: float, second: float,
    board: Any, threads: int, patience: int, job: Any, function: int,
) -> int:  # fmt: skip
    tasks = write_forward(x, bias, y, first, second, job)
    if not tasks:
        return REFUSED
    ended = lead(board, threads, function, tasks, 1, job.ctypes.data, patience)
    return ENDED if ended else UNENDED


def posted_backward(
    dy: Any, y: Any, dz: Any, bias: Any, sums: Any, bias_grad: Any, first: float, second: float,
    board: Any, threads: int, patience: int, job: Any, function: int,
) -> int:  # fmt: skip
    """`finish` follows, once all has ended."""
    tasks = write_backward(dy, y, dz, bias, sums, bias_grad, first, second, job)
    if not tasks:
        return REFUSED
    ended = lead(board, threads, function, tasks, 1, job.ctypes.data, patience)
    return ENDED if ended else UNENDED
