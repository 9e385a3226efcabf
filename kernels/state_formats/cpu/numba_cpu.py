"""Engine "numba": the blocks of all arrays of a step, one after another, shared by a crew."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from ...compiling.jit import cfunc
from ...crew.atomics import call, pointer
from ...crew.crew import CHUNKS_PER_THREAD, HELPED, MIN_CHUNK, SHARED, get_crew
from ...rule import AVERAGE, Rule
from ..base import EncodedEngine, Step
from ..contract import BLOCK, Call
from ..formats import bits_of, is_bfloat16
from ..layout import BFLOAT16, EIGHT_BIT, FLOAT32, Layout
from ..state8bit import BLOCK_SIZES, State8bit, blocks_of
from .numba_entry import DONE, LARGE, Plan, step_one, write_job
from .numba_loops import FIRST_ARRAY, SIZE

_FLOAT32 = np.dtype("float32")
WORDS = 3
"""Of a call in the table of a walk: how many blocks it and those before it have, the address of its
loop, and that of its job."""


class Table:
    """The jobs of several calls; between steps they hold addresses alone, and no array alive.

    Attributes:
        walk: the argument of `walk`.
        blocks: of all calls together.
        elements, nbytes: likewise.
        varied: of each job the words that are others at each step: the key, then coefficients.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self.layouts = [each.layout for each in calls]
        self._sizes = [each.param.size for each in calls]
        self._block_sizes = [each.block for each in calls]
        self._plans = [_plan_of(layout) for layout in self.layouts]
        ends = np.cumsum([plan.words for plan in self._plans])
        self._words = np.zeros(ends[-1], np.int64)
        self._jobs = np.split(self._words, ends[:-1])
        self._places = [job.ctypes.data for job in self._jobs]
        self._table = np.zeros((len(calls), WORDS), np.int64)
        self.elements = sum(self._sizes)
        self.nbytes = sum(each.nbytes for made in calls for each in made.arrays)
        done = 0
        for k, (row, plan) in enumerate(zip(self._table, self._plans, strict=True)):
            done += blocks_of(self._sizes[k], self._block_sizes[k])
            row[:] = done, plan.function, self._places[k]
        self.blocks = done
        self.walk = np.array([len(calls), self._table.ctypes.data], np.int64)
        counts = [FIRST_ARRAY + len(layout.arrays()) for layout in self.layouts]
        self.varied = [job[at:] for job, at in zip(self._jobs, counts, strict=True)]
        self._addresses = [job[FIRST_ARRAY:at] for job, at in zip(self._jobs, counts, strict=True)]
        self._lengths, self._written = self._told()
        self._apart: np.ndarray | None = None

    def is_of(self, steps: Sequence[Step]) -> bool:
        """Whether it is one of such calls."""
        return len(steps) == len(self.layouts) and all(
            step.call.layout == layout and step.call.block == block
            for step, layout, block in zip(steps, self.layouts, self._block_sizes, strict=True)
        )

    def tell(self, steps: Sequence[Step]) -> bool:
        """Look at all arrays, and write where they are and what is another at each step. False
        where one is not as its call has it, or two of which one is written share memory."""
        for k, step in enumerate(steps):
            plan, key = self._plans[k], step.key - (step.key >> 63 << 64)
            given, numbers = tuple(map(np.asarray, step.call.arrays)), step.coefficients
            told = id(given), id(numbers), key, self._block_sizes[k], plan.address
            if not write_job(*told, self._places[k]) or self._jobs[k][SIZE] != self._sizes[k]:
                return False
        return len(steps) == 1 or self._are_apart()

    def _told(self) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of each array of all jobs, and whether it is written."""
        lengths, written = [], []
        for layout, size, block in zip(self.layouts, self._sizes, self._block_sizes, strict=True):
            for name, dtype in layout.arrays().items():
                count = blocks_of(size, block) if name.endswith("_scales") else size
                lengths.append(count * np.dtype(dtype).itemsize)
                written.append(name != "g_at")
        return np.array(lengths), np.array(written)

    def _are_apart(self) -> bool:
        """Looked at where an address is another than in the last step."""
        starts = np.concatenate(self._addresses)
        if self._apart is not None and (starts == self._apart).all():
            return True
        order = starts.argsort(kind="stable")
        ends, written = (starts + self._lengths)[order], self._written[order]
        reach = np.maximum.accumulate(ends)[:-1]
        written_reach = np.maximum.accumulate(np.where(written, ends, 0))[:-1]
        later = starts[order][1:]
        shared = (later < written_reach) | ((later < reach) & written[1:])
        self._apart = None if shared.any() else starts
        return self._apart is not None


class NumbaEngine(EncodedEngine):
    """All calls in one walk; a single one by itself."""

    name = "numba"
    looks = True

    def quick(
        self, rule: Rule, arrays: tuple[Any, ...], coefficients: tuple[float, ...], key: int
    ) -> bool:
        flat: list[Any] = [arrays[0], arrays[1]]
        formats, block, sizes = [], BLOCK, 0
        for state, name in zip(arrays[2:], rule.state, strict=True):
            if type(state) is State8bit:
                if state.signed == (name in rule.unsigned) or (sizes and state.block_size != block):
                    return False
                if state.block_size not in BLOCK_SIZES:
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

    def run(self, steps: Sequence[Step], kept: dict[str, Any]) -> bool:
        table = kept.get("table")
        if table is None or not table.is_of(steps):
            kept["table"] = table = Table([step.call for step in steps])
        if not table.tell(steps):
            del kept["table"]
            return False
        alive = table, steps
        _run(walk.address, table.blocks, table.walk, alive, table.elements, table.nbytes)
        return True


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
    """Of a call whose parameter and gradient are float32."""
    return _plan_of(Layout(rule, FLOAT32, FLOAT32, states))


@cache
def _plan_of(layout: Layout) -> Plan:
    """It lives as long as the process."""
    return Plan(layout)


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
