"""A step's work on a GPU, captured from a stream of its own and launched again and again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from ...backend import Array, Backend
from ..compiling import cuda_launch
from ..compiling.cuda_launch import RawKernel, made_once, zero_between_launches
from ..compiling.cuda_packs import packed_blocks
from ..compiling.cuda_squares import sum_of_squares
from ..compiling.dtypes import NAMES
from ..rule import Rule
from . import cuda_text
from .cuda_text import CLOCK, DRAWS, NOT_FINITE, ORDER, STEP, STOP
from .words import NOWHERE, Words, captured


class Graph:
    """The work of a step, which `capture` writes down.

    All of what is made while it is captured lies in memory that is the graph's alone, since it is
    written again at every launch.

    Attributes:
        loss, metric: of each step of the last run.
        not_finite: whether that ended because a loss was not finite.
    """

    not_finite = False

    def __init__(self, backend: Backend, most: int, columns: int) -> None:
        import cupy

        self._backend, self._columns = backend, columns
        with backend.scope():
            self._pool = cupy.cuda.MemoryPool()
            self._stream = cupy.cuda.Stream(non_blocking=True)
            room = cupy.zeros(most * columns + CLOCK + 2 * most, "float64")
        self._kept: list[Any] = []
        self._graph: Any = None
        table = most * columns
        self._given, self._found = room[: table + CLOCK], room[table:]
        self._table, self._clock = room[:table], room[table : table + CLOCK].view("int64")
        self._losses, self._metrics = self._found[CLOCK:].reshape(2, most)
        self._host_given, self._host_found = _pinned(table + CLOCK), _pinned(CLOCK + 2 * most)
        self._host_clock = self._host_found[:CLOCK].view("int64")
        self.loss, self.metric = self._host_found[CLOCK:].reshape(2, most)

    def capture(self, work: Callable[[], None]) -> None:
        """Write down what `work` asks of its stream, which runs none of it.

        It is called twice: what the first call compiles, or is made once, the second finds there.

        Raises:
            whatever `work` does, and CUDA's errors where it waits for the GPU.
        """
        import cupy

        words = Words(self._clock[DRAWS:], self._clock[STOP:])
        cupy.cuda.get_current_stream().synchronize()
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream, captured(words):
            zero_between_launches(self._clock)  # made now: in a capture nothing is zeroed yet
            for _ in range(2):
                self._graph = self._captured(work)

    def _captured(self, work: Callable[[], None]) -> Any:
        self._stream.begin_capture()
        try:
            work()
        except BaseException:
            _abandon(self._stream)
            raise
        return self._stream.end_capture()

    # --- what work asks for -----------------------------------------------------------------------
    def take(self, source: Array, room: Array) -> None:
        """Rows of `source` for the step, by the numbers of `run`."""
        nbytes = np.int64(source.nbytes // max(len(source), 1))
        take_kernel()(room, len(room), cuda_launch.THREADS, source, room, nbytes, self._clock)

    def decide(self, loss: Array, metric: Array, clip_norm: float | None, gradients: Array) -> None:
        """Note loss and metric, and whether the step is taken.

        Args:
            loss: float64, metric: integer or floating, both 0-d.
            clip_norm: None, or the most that the norm of `gradients` is to be.
        """
        squares = None if clip_norm is None else sum_of_squares([gradients])
        kernel = decide_kernel(NAMES[metric.dtype], self._columns)
        limits = NOWHERE if squares is None else squares, np.float64(clip_norm or 0.0)
        arrays = self._table, self._losses, self._metrics, self._clock
        kernel(loss, 1, 1, loss, metric, *limits, *arrays)
        self._kept = [loss, metric, squares]

    def step(self, rule: Rule, arrays: tuple[Array, ...]) -> None:
        """Step `arrays` (param, grad, then states) with the step's row of coefficients."""
        first = arrays[0]
        kernel, blocks = step_kernel(rule, NAMES[first.dtype]), packed_blocks(first)
        given = (*arrays, np.int64(first.size), self._table, self._clock)
        kernel(first, blocks, cuda_launch.THREADS, *given)

    # --- a run ------------------------------------------------------------------------------------
    def run(self, table: np.ndarray, order: Array | None, steps: int, draws: int) -> int:
        """Launch it that many times; how many steps were taken.

        Args:
            table: a row of coefficients for each.
            order: int64, contiguous, on the device: the samples' numbers.
            draws: of each dropout since the capture.
        """
        import cupy

        with self._backend.scope():
            here = cupy.cuda.get_current_stream()
            before = here.record()
            self._stream.wait_event(before)
            given = self._host_given
            given[: table.size] = table.ravel()
            clock = given[table.size :].view("int64")
            clock[:] = 0
            clock[DRAWS] = draws
            clock[ORDER] = 0 if order is None else order.data.ptr
            with self._stream:
                self._given.set(given)
                for _ in range(steps):
                    self._graph.launch(self._stream)
                self._found.get(out=self._host_found, blocking=False)
            self._stream.synchronize()
        self.not_finite = bool(self._host_clock[STOP] == NOT_FINITE)
        return int(self._host_clock[STEP])


def _pinned(size: int) -> np.ndarray:
    """Numbers in memory that the GPU reads and writes by itself."""
    import cupy

    memory = cupy.cuda.alloc_pinned_memory(8 * size)
    found = np.frombuffer(memory, np.float64, size)
    found[:] = 0
    return found


def _abandon(stream: Any) -> None:
    """End a capture of which nothing is wanted."""
    import cupy

    with suppress(cupy.cuda.runtime.CUDARuntimeError):  # it was broken before
        stream.end_capture()


@made_once
def take_kernel() -> RawKernel:
    """graph_take."""
    return RawKernel(cuda_text.TAKE, "float32", cuda_text.take())


@made_once
def step_kernel(rule: Rule, dtype: str) -> RawKernel:
    """A rule by the rows of a table."""
    text = cuda_text.step(rule, dtype)
    return RawKernel(f"{rule.name}_by_table", dtype, text, cuda_text.symbol(rule, dtype))


@made_once
def decide_kernel(metric: str, columns: int) -> RawKernel:
    """graph_decide."""
    return RawKernel(cuda_text.DECIDE, metric, cuda_text.decide(metric, columns))
