"""A step's work on a GPU, captured from a stream of its own and launched again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Array, Backend
from ..compiling import cuda_launch
from ..compiling.cuda_launch import RawKernel, made_once
from ..compiling.dtypes import NAMES
from ..rule import Rule
from ..rule_engines.cupy_gpu import step_by_table
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
        parts = most * columns, most * columns + CLOCK, most * columns + CLOCK + most
        self._given, self._found = room[: parts[1]], room[parts[0] :]
        self._table, clock, self._losses, self._metrics = np.split(np.arange(len(room)), parts) and (
            room[: parts[0]], room[parts[0] : parts[1]], room[parts[1] : parts[2]], room[parts[2] :]
        )
        self._clock = clock.view("int64")
        self._host_given = _pinned(parts[1])
        self._host_found = _pinned(len(room) - parts[0])
        self._host_clock = self._host_found[:CLOCK].view("int64")
        self.loss = self._host_found[CLOCK : CLOCK + most]
        self.metric = self._host_found[CLOCK + most :]

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
            for _ in range(2):
                self._graph = None
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

    def decide(self, loss: Array, metric: Array, squares: Array | None, most: float | None) -> None:
        """Note loss and metric, and whether the step is taken.

        Args:
            loss: float64, metric: integer or floating, both 0-d.
            squares: the sum of gradients' squares, float64, where their norm is to be `most`.
        """
        kernel = decide_kernel(NAMES[metric.dtype], self._columns)
        limits = NOWHERE if squares is None else squares, np.float64(most or 0.0)
        arrays = self._table, self._losses, self._metrics, self._clock
        kernel(loss, 1, 1, loss, metric, *limits, *arrays)
        self._kept = [loss, metric, squares]

    def step(self, rule: Rule, arrays: tuple[Array, ...]) -> None:
        """Step `arrays` (param, grad, then states) with the step's row of coefficients."""
        step_by_table(rule, arrays, self._table, self._clock)

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
    return np.frombuffer(memory, np.float64, size)


def _abandon(stream: Any) -> None:
    """End a capture of which nothing is wanted."""
    import cupy

    try:
        stream.end_capture()
    except cupy.cuda.runtime.CUDARuntimeError:  # it was broken before
        pass


@made_once
def take_kernel() -> RawKernel:
    """graph_take."""
    return RawKernel("graph_take", "float32", cuda_text.take())


@made_once
def decide_kernel(metric: str, columns: int) -> RawKernel:
    """graph_decide."""
    return RawKernel("graph_decide", metric, cuda_text.decide(metric, columns))
