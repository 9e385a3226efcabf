"""Operations over rows in a program."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ..compiling.jit import once
from ..compiling.specialize import specialize
from ..rows.contract import Arrays
from ..rows.cpu.numba_job import FIRST
from ..rows.cpu.numba_prepared import constant, function_for, prepared
from ..rows.skeleton import Rows, Shape
from ..simd.loops import c_function
from ..simd.memory import memory
from .program import Program

NUMBER: Any = np.float32
SHARED = 1 << 17  # bytes of an array from which threads share the tasks
SLOW = 8.0  # nanoseconds of an element on a slow core


def repeat_values(low: Any, high: Any, place: Any) -> None:
    """Values low to high of a vector, each so many times in a row."""
    source, target, times = carray(place, (3,), np.int64)
    values, repeated = memory(source, high, NUMBER), memory(target, high * times, NUMBER)
    for k in range(low, high):
        for i in range(k * times, (k + 1) * times):
            repeated[i] = values[k]


@once
def _repeat(char: str) -> Any:
    return c_function(specialize(repeat_values, NUMBER=np.dtype(char).type))


def over_rows(
    program: Program, rows: Rows, shape: Shape, arrays: Arrays, numbers: tuple[float, ...],
    name: str,
) -> None:  # fmt: skip
    """What `RowsEngine.run` does, of float32 or float64, each step anew."""
    char = arrays.elements[0].dtype.char
    job, ready = prepared(rows, shape, char, numbers)
    vectors = []
    for default, vector in zip(rows.vectors.values(), arrays.vectors, strict=True):
        if vector is None:
            vectors.append(constant(default, ready.length, char))
        else:
            vectors.append(_repeated(program, vector, ready.repeated, name))
    sums = np.empty(ready.sums)
    together = (*arrays.elements, *vectors, arrays.given, arrays.kept, sums, arrays.added)
    job = job.copy()
    job[FIRST : FIRST + len(together)] = [each.ctypes.data for each in together]
    shared = arrays.elements[0].nbytes >= SHARED and ready.tasks > 1
    nanoseconds = SLOW * arrays.elements[0].size / ready.tasks
    function = function_for(rows, char, ready, job)
    program.add(
        function, job, together, size=ready.tasks, chunk=int(shared),
        nanoseconds=nanoseconds, name=name,
    )  # fmt: skip
    if ready.join:
        program.add(ready.join, job, name=name)


def _repeated(program: Program, vector: np.ndarray, times: int, name: str) -> np.ndarray:
    """A vector as loops over rows take it."""
    if times == 1:
        return vector
    target = np.empty(vector.size * times, vector.dtype)
    job = np.array([vector.ctypes.data, target.ctypes.data, times])
    function = _repeat(vector.dtype.char).address
    program.add(function, job, vector, target, size=vector.size, name=name)
    return target
