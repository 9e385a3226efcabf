"""Activations in a program."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ..activation.contract import Numbers
from ..activation.cpu.numba_calls import BIAS, FIRST, SECOND, WORDS, finish
from ..activation.cpu.numba_compile import shared
from ..activation.cpu.numba_tasks import cut
from ..compiling.dtypes import COMPUTED as COMPUTED_OF
from ..compiling.dtypes import STORED as STORED_OF
from ..compiling.jit import once
from ..compiling.specialize import specialize
from ..crew.atomics import pointer
from ..simd.loops import c_function
from .program import Program

COMPUTED: Any = np.float32  # what is computed in
STORED: Any = np.float32  # what arrays hold
SHARED = 1 << 17  # bytes of an array from which threads share the tasks


def finish_sums(low: Any, high: Any, place: Any) -> None:
    """The bias's gradient, from the sums of all tasks."""
    words = carray(place, (4,), np.int64)
    sums = carray(pointer(words[0]), (words[1], words[2]), np.float64)
    finish(sums, carray(pointer(words[3]), (words[2],), STORED))


@once
def _finish(kind: str) -> Any:
    names = {"COMPUTED": COMPUTED_OF[kind], "STORED": STORED_OF[kind]}
    return c_function(specialize(finish_sums, **names))


def forward(
    program: Program, x: np.ndarray, y: np.ndarray, kind: str, bias: np.ndarray | None,
    numbers: Numbers,
) -> None:  # fmt: skip
    """y = f(x + bias), contiguous; y may be x."""
    width = 0 if bias is None else bias.size
    places = [x.ctypes.data, 0 if bias is None else bias.ctypes.data, y.ctypes.data, 0]
    job = _job([*places, x.size, width], numbers)
    _add(program, shared("forward", kind, x.dtype.char).address, job, x, width, (x, bias, y))


def backward(
    program: Program, dy: np.ndarray, y: np.ndarray, dz: np.ndarray, kind: str,
    bias: np.ndarray | None, bias_grad: np.ndarray | None, numbers: Numbers,
) -> None:  # fmt: skip
    """dz = dy f'(z), which may be dy, and its sum over rows; y and bias as engines take them."""
    width, added = (0 if vector is None else vector.size for vector in (bias_grad, bias))
    widest = max(width, added)
    _, _, tasks = cut.py_func(dy.size, max(1, widest))
    sums = np.empty((tasks, width))
    places = [dy.ctypes.data, y.ctypes.data, dz.ctypes.data, sums.ctypes.data]
    job = _job([*places, dy.size, width, tasks], numbers)
    job[BIAS], job[BIAS + 1] = 0 if bias is None else bias.ctypes.data, added
    kept = dy, y, dz, bias, sums
    _add(program, shared("backward", kind, dy.dtype.char).address, job, dy, widest, kept)
    if bias_grad is not None:
        last = np.array([sums.ctypes.data, tasks, width, bias_grad.ctypes.data])
        program.add(_finish(dy.dtype.char).address, last, sums, bias_grad, name="activation")


def _job(words: list[int], numbers: Numbers) -> np.ndarray:
    job = np.zeros(WORDS, np.int64)
    job[: len(words)] = words
    job.view(np.float64)[[FIRST, SECOND]] = numbers
    return job


def _add(
    program: Program, function: int, job: np.ndarray, x: np.ndarray, width: int, kept: Any
) -> None:
    _, _, tasks = cut.py_func(x.size, max(1, width))
    chunk = int(x.nbytes >= SHARED and tasks > 1)
    program.add(function, job, kept, size=tasks, chunk=chunk, name="activation")
