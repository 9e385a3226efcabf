"""Small instructions of a program: words that change with the step, copies, and rows of data."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..compiling.jit import once
from ..compiling.specialize import specialize
from ..crew.atomics import pointer
from ..crew.board import STEP
from ..simd.loops import c_function
from .program import Program

SHARED = 1 << 16  # bytes of rows from which threads share them
ROWS, BYTES = 16, 1 << 14  # that a thread takes at a time


@intrinsic
def _move(typing: Any, target: Any, source: Any, nbytes: Any) -> Any:
    """Copy bytes from one address to another, between which none are shared."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        places = (builder.inttoptr(each, byte) for each in args[:2])
        cgutils.raw_memcpy(builder, *places, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def advance_words(low: Any, high: Any, place: Any) -> None:
    """Each word of a table of (its address, what it is at first, what is added a step)."""
    job = carray(place, (3,), np.int64)
    step = carray(pointer(job[1]), (1,), np.int64)[STEP]
    table = carray(pointer(job[0]), (job[2], 3), np.int64)
    for k in range(job[2]):
        carray(pointer(table[k, 0]), (1,), np.int64)[0] = table[k, 1] + step * table[k, 2]


def copy_bytes(low: Any, high: Any, place: Any) -> None:
    """Bytes low to high of `source` to `target`."""
    source, target = carray(place, (2,), np.int64)
    _move(target + low, source + low, high - low)


def take_rows(low: Any, high: Any, place: Any) -> None:
    """Rows of `source` whose numbers stand in `order`, one after another."""
    source, order, target, nbytes = carray(place, (4,), np.int64)
    numbers = carray(pointer(order), (high,), np.int64)
    for row in range(low, high):
        _move(target + row * nbytes, source + numbers[row] * nbytes, nbytes)


@once
def compiled(name: str) -> Any:
    """The C function of one of them."""
    return c_function(specialize(globals()[name]))


class Words:
    """Words of jobs that change with the step; put on a program before all that reads them."""

    def __init__(self, program: Program) -> None:
        self._table = np.zeros((16, 3), np.int64)
        self._job = np.array([self._table.ctypes.data, program.clock.ctypes.data, 0])
        program.add(compiled("advance_words").address, self._job, self, name="words")

    def add(self, job: np.ndarray, word: int, first: int, stride: int) -> int:
        """Word number `word` of `job` is `first` plus `stride` for each step; the word's own
        number, for `start`."""
        number = int(self._job[2])
        if number == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
            self._job[0] = self._table.ctypes.data
        self._table[number, 1:] = first, stride
        self.point(number, job, word)
        self._job[2] += 1
        return number

    def point(self, number: int, job: np.ndarray, word: int) -> None:
        """Let it be word number `word` of `job`, which lives as long as the program."""
        self._table[number, 0] = job.ctypes.data + 8 * word

    def start(self, number: int, first: int) -> None:
        """Let a word begin with another value from now on."""
        self._table[number, 1] = first


def copy(
    program: Program, source: np.ndarray, target: np.ndarray, name: str = "copy"
) -> np.ndarray:
    """Copy a contiguous array; its job: the addresses of source and target."""
    job = np.array([source.ctypes.data, target.ctypes.data])
    chunk = BYTES if target.nbytes >= SHARED else 0
    function = compiled("copy_bytes").address
    program.add(function, job, source, target, size=target.nbytes, chunk=chunk, name=name)
    return job


def take(program: Program, source: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Gather rows; its job: addresses of source, of the rows' numbers (int64), of out, bytes."""
    nbytes = out.nbytes // len(out)
    job = np.array([source.ctypes.data, 0, out.ctypes.data, nbytes])
    chunk = ROWS if out.nbytes >= SHARED else 0
    function = compiled("take_rows").address
    program.add(function, job, source, out, size=len(out), chunk=chunk, name="gather")
    return job
