"""Engine "numba": the blocks of all arrays of a step, one after another, shared by a crew."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import is_
from typing import Any

import numpy as np
from numba import carray, types

from ...compiling.jit import cfunc
from ...compiling.python_text import scalar_names
from ...crew.atomics import call, pointer
from ...crew.crew import CHUNKS_PER_THREAD, HELPED, MIN_CHUNK, SHARED, get_crew
from ...rule import AVERAGE, Rule
from ..base import EncodedEngine, Step
from ..contract import BLOCK, Call
from ..formats import bits_of, is_bfloat16
from ..layout import BFLOAT16, EIGHT_BIT, FLOAT32, Layout
from ..state8bit import State8bit, blocks_of
from .numba_entry import DONE, LARGE, Plan, step_one, write_job
from .numba_loops import FIRST_ARRAY, block_loop

_FLOAT32 = np.dtype("float32")
WORDS = 3
"""Of a call in the table of a walk: how many blocks it and those before it have, the address of its
loop, and that of its job."""


class Table:
    """The jobs of several calls, made once for the same arrays.

    Attributes:
        walk: the argument of `walk`.
        blocks: of all calls together.
        elements, nbytes: likewise.
        varied: of each job the words that are others at each step: the key, then coefficients.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self.arrays = [each.arrays for each in calls]
        self._layouts = [each.layout for each in calls]
        places = [FIRST_ARRAY + len(arrays) for arrays in self.arrays]
        widths = [len(scalar_names(layout.rule)) for layout in self._layouts]
        sizes = [at + 1 + width for at, width in zip(places, widths, strict=True)]
        ends = np.cumsum(sizes)
        self._words = np.zeros(ends[-1], np.int64)
        self._jobs = np.split(self._words, ends[:-1])
        self._table = np.zeros((len(calls), WORDS), np.int64)
        self.elements = sum(each.param.size for each in calls)
        self.nbytes = sum(each.nbytes for arrays in self.arrays for each in arrays)
        done = 0
        for job, row, made in zip(self._jobs, self._table, calls, strict=True):
            done += blocks_of(made.param.size, made.block)
            job[:FIRST_ARRAY] = made.param.size, made.block
            job[FIRST_ARRAY : FIRST_ARRAY + len(made.arrays)] = [*map(_address, made.arrays)]
            row[:] = done, block_loop(made.layout).address, job.ctypes.data
        self.blocks = done
        self.walk = np.array([len(calls), self._table.ctypes.data], np.int64)
        self.varied = [job[at:] for job, at in zip(self._jobs, places, strict=True)]
        self._keys = [each[:1].view(np.uint64) for each in self.varied]
        self._coefficients = [each[1:].view(np.float64) for each in self.varied]

    def follow(self, steps: Sequence[Step]) -> bool:
        """Whether these calls are of the same arrays, but for gradients, which may be others."""
        if len(steps) != len(self.arrays):
            return False
        for job, last, layout, step in zip(
            self._jobs, self.arrays, self._layouts, steps, strict=True
        ):
            arrays = step.call.arrays
            if step.call.layout != layout or len(arrays) != len(last):
                return False
            same = [*map(is_, arrays, last)]
            if not all(same):
                at = 2 if layout.param == BFLOAT16 else 1
                if not all(same[:at]) or not all(same[at + 1 :]):
                    return False
                job[FIRST_ARRAY + at] = _address(arrays[at])
        self.arrays = [step.call.arrays for step in steps]
        return True

    def tell(self, steps: Sequence[Step]) -> None:
        """Write what is another at each step."""
        for key, numbers, step in zip(self._keys, self._coefficients, steps, strict=True):
            key[0] = step.key
            numbers[:] = step.coefficients


class NumbaEngine(EncodedEngine):
    """All calls in one walk; a single one by itself."""

    name = "numba"

    def quick(
        self, rule: Rule, arrays: tuple[Any, ...], coefficients: tuple[float, ...], key: int
    ) -> bool:
        flat: list[Any] = [arrays[0], arrays[1]]
        formats, block, sizes = [], BLOCK, 0
        for state, name in zip(arrays[2:], rule.state, strict=True):
            if type(state) is State8bit:
                if state.signed == (name in rule.unsigned) or (sizes and state.block_size != block):
                    return False
                block, sizes = state.block_size, sizes + 1
                flat += [state.codes, state.scales]
                formats.append(EIGHT_BIT)
            elif type(state) is np.ndarray and state.dtype is _FLOAT32:
                flat.append(state)
                formats.append(FLOAT32)
            elif is_bfloat16(state) and name != AVERAGE:
                flat.append(bits_of(state))
                formats.append(BFLOAT16)
            else:
                return False
        plan = _plan(rule, tuple(formats))
        given, signed = tuple(flat), key - (key >> 63 << 64)
        found = step_one(id(given), id(coefficients), signed, block, plan.address)
        return found == DONE or (
            found == LARGE and self._share(plan, given, coefficients, signed, block)
        )

    @staticmethod
    def _share(
        plan: Plan, arrays: tuple[Any, ...], coefficients: tuple[float, ...], key: int, block: int
    ) -> bool:
        """Run the loop by the crew."""
        job = np.empty(plan.words, np.int64)
        address = job.ctypes.data
        if not write_job(id(arrays), id(coefficients), key, block, plan.address, address):
            return False
        nbytes, size = sum(each.nbytes for each in arrays), arrays[0].size
        _run(plan.function, blocks_of(size, block), job, arrays, size, nbytes)
        return True

    def run(self, steps: Sequence[Step], kept: dict[str, Any]) -> None:
        table = kept.get("table")
        if table is None or not table.follow(steps):
            kept["table"] = table = Table([step.call for step in steps])
        table.tell(steps)
        _run(walk.address, table.blocks, table.walk, table, table.elements, table.nbytes)


def _run(function: int, blocks: int, job: np.ndarray, kept: Any, size: int, nbytes: int) -> None:
    """`function` over blocks, by the crew where so many bytes are worth it."""
    crew = get_crew()
    if nbytes < HELPED:
        crew.alone(function, blocks, job)
        return
    wake = nbytes >= SHARED
    least = (MIN_CHUNK if wake else MIN_CHUNK // 4) * blocks // size
    chunk = max(1, least, -(-blocks // (crew.threads * CHUNKS_PER_THREAD)))
    crew.run(function, blocks, job, kept, chunk, elements=size, wake=wake)


@cache
def _plan(rule: Rule, states: tuple[str, ...]) -> Plan:
    """Of a call whose parameter and gradient are float32; it lives as long as the process."""
    return Plan(Layout(rule, FLOAT32, FLOAT32, states))


def _address(array: Any) -> int:
    return int(array.ctypes.data)


@cfunc("void(int64, int64, voidptr)", error_model="numpy")
def walk(low: int, high: int, job: Any) -> None:
    """Blocks low to high of a table: a call of a loop for each array they lie in."""
    head = carray(job, 2, types.int64)
    table = carray(pointer(head[1]), (head[0], WORDS), types.int64)
    k = 0
    while table[k, 0] <= low:
        k += 1
    while low < high:
        begin = table[k - 1, 0] if k else 0
        end = min(table[k, 0], high)
        call(table[k, 1], low - begin, end - begin, table[k, 2])
        low = end
        k += 1
