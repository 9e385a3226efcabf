"""What Python calls of activations' compiled code: a whole call, or a job of the crew.

Each function is specialized for every kind and dtype, with what it calls (numba_compile.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ...crew.atomics import pointer
from ...crew.board import lead
from ...crew.crew import ENDED, REFUSED, UNENDED
from ...simd.half import store
from ...simd.loops import inline
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


# --- a whole call: True if it ran, False if it refused, before any write --------------------------
def run_of(a: Any) -> Any:
    """A contiguous array as one run of memory, slices of which count no references."""
    return carray(pointer(a.ctypes.data), (a.size,), STORED)


def forward(x: Any, bias: Any, y: Any, first: float, second: float) -> bool:
    if not fit_forward(x, bias, y):
        return False
    _, _, tasks = cut(x.size, max(1, bias.size))
    forward_tasks(run_of(x), bias, run_of(y), first, second, 0, tasks)
    return True


def backward(
    dy: Any, y: Any, dz: Any, bias: Any, bias_grad: Any, first: float, second: float
) -> bool:
    if not fit_backward(dy, y, dz, bias, bias_grad):
        return False
    _, _, tasks = cut(dy.size, max(1, bias.size, bias_grad.size))
    sums = np.empty((tasks, bias_grad.size))
    backward_tasks(run_of(dy), run_of(y), run_of(dz), bias, sums, first, second, 0, tasks)
    finish(sums, bias_grad)
    return True


def finish(sums: Any, bias_grad: Any) -> None:
    """bias_grad = the sums of all tasks together."""
    total = sums[0]
    for task in range(1, sums.shape[0]):
        add(total, sums[task])
    for j in range(bias_grad.size):
        store(bias_grad, j, COMPUTED(total[j]))


# --- a job of the crew, and the same call that posts it: REFUSED, ENDED or UNENDED ----------------
def shared_forward(low: Any, high: Any, job: Any) -> None:
    words, reals = carray(job, (WORDS,), np.int64), carray(job, (WORDS,), np.float64)
    size, width = words[4], words[5]
    x = carray(pointer(words[0]), (size,), STORED)
    bias = carray(pointer(words[1]), (width,), STORED)
    y = carray(pointer(words[2]), (size,), STORED)
    forward_tasks(x, bias, y, reals[FIRST], reals[SECOND], low, high)


def shared_backward(low: Any, high: Any, job: Any) -> None:
    words, reals = carray(job, (WORDS,), np.int64), carray(job, (WORDS,), np.float64)
    size, width, tasks = words[4], words[5], words[6]
    dy = carray(pointer(words[0]), (size,), STORED)
    y = carray(pointer(words[1]), (size,), STORED)
    dz = carray(pointer(words[2]), (size,), STORED)
    sums = carray(pointer(words[3]), (tasks, width), np.float64)
    bias = carray(pointer(words[BIAS]), (words[BIAS + 1],), STORED)
    backward_tasks(dy, y, dz, bias, sums, reals[FIRST], reals[SECOND], low, high)


def posted_forward(
    x: Any, bias: Any, y: Any, first: float, second: float,
    board: Any, threads: int, patience: int, job: Any, function: int,
) -> int:  # fmt: skip
    if not fit_forward(x, bias, y):
        return REFUSED
    _, _, tasks = cut(x.size, max(1, bias.size))
    job[0], job[1], job[2] = x.ctypes.data, bias.ctypes.data, y.ctypes.data
    job[4], job[5] = x.size, bias.size
    job.view(np.float64)[FIRST] = first
    job.view(np.float64)[SECOND] = second
    ended = lead(board, threads, function, tasks, 1, job.ctypes.data, patience)
    return ENDED if ended else UNENDED


def posted_backward(
    dy: Any, y: Any, dz: Any, bias: Any, sums: Any, bias_grad: Any, first: float, second: float,
    board: Any, threads: int, patience: int, job: Any, function: int,
) -> int:  # fmt: skip
    """`finish` follows, once all has ended."""
    if not fit_backward(dy, y, dz, bias, bias_grad):
        return REFUSED
    tasks, width = sums.shape
    job[0], job[1], job[2] = dy.ctypes.data, y.ctypes.data, dz.ctypes.data
    job[3], job[4], job[5], job[6] = sums.ctypes.data, dy.size, width, tasks
    job[BIAS], job[BIAS + 1] = bias.ctypes.data, bias.size
    job.view(np.float64)[FIRST] = first
    job.view(np.float64)[SECOND] = second
    ended = lead(board, threads, function, tasks, 1, job.ctypes.data, patience)
    return ENDED if ended else UNENDED
