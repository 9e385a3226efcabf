"""A step's work on a GPU, captured from a stream of its own and launched again and again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import finalize

import numpy as np

from ...backend import Array, Backend, DeviceMemoryError
from ..compiling.dtypes import NAMES
from ..compiling.gpu import cuda_launch
from ..compiling.gpu.cuda_chunks import Chunks, chunks_of
from ..compiling.gpu.cuda_launch import (
    NULL,
    RawKernel,
    forget_stream,
    made_once,
    zero_between_launches,
)
from ..compiling.gpu.cuda_packs import launch_chunks_with
from ..compiling.gpu.cuda_squares import sum_of_squares
from ..compiling.python_text import scalar_names
from ..groups import Runs
from ..program.stops import NOT_FINITE
from ..rule import Rule
from ..rule_engines.cuda_clock import CLOCK, DRAWS, ORDER, STEP, STOP, host_words
from ..rule_engines.cupy_gpu import table_kernel
from . import cuda_text
from .words import Words, captured


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

        self._backend, self._most, self._columns = backend, most, columns
        with backend.scope():
            self._pool = cupy.cuda.MemoryPool(_taken)
            self._stream = cupy.cuda.Stream(non_blocking=True)
            finalize(self, forget_stream, self._stream.ptr)
            room = cupy.zeros(2 * most + CLOCK + most * columns, "float64")
        self._kept: list[Any] = []
        self._graph: Any = None
        figures, given = 2 * most, 2 * most + CLOCK
        self._losses, self._metrics = room[:figures].reshape(2, most)
        self._clock, self._table = room[figures:given].view("int64"), room[given:]
        self._found, self._given = room[:given], room[figures:]
        self._host_found, self._host_given = host_words(given), host_words(CLOCK + most * columns)
        self._host_clock = self._host_found[figures:].view("int64")
        self.loss, self.metric = self._host_found[:figures].reshape(2, most)

    def capture(self, work: Callable[[], None]) -> None:
        """Write down what `work` asks of its stream, which runs none of it.

        It is called twice: what the first call compiles, or is made once, the second finds there.

        Raises:
            whatever `work` does, and CUDA's errors where it waits for the GPU.
        """
        import cupy

        clock = self._clock
        words = Words(clock[DRAWS : DRAWS + 1], clock[STOP : STOP + 1])
        cupy.cuda.get_current_stream().synchronize()
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream, captured(words):
            try:
                self._graph = self._captured_twice(work)
            except (DeviceMemoryError, cupy.cuda.memory.OutOfMemoryError):
                cupy.get_default_memory_pool().free_all_blocks()  # kept of steps layer by layer
                self._graph = self._captured_twice(work)

    def _captured_twice(self, work: Callable[[], None]) -> Any:
        zero_between_launches(self._clock)  # made now: in a capture nothing is zeroed
        self._captured(work)
        return self._captured(work)

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
        for name, figure in (("loss", loss), ("metric", metric)):
            if figure.shape != () or (name == "loss" and figure.dtype != "float64"):
                raise TypeError(
                    f"the {name} has shape {figure.shape} and dtype {figure.dtype}; expected (), "
                    "and float64 of a loss"
                )
        squares = None if clip_norm is None else sum_of_squares([gradients])
        kernel = decide_kernel(NAMES[metric.dtype], self._columns)
        limits = NULL if squares is None else squares, np.float64(clip_norm or 0.0)
        arrays = self._table, self._losses, self._metrics, self._clock
        kernel(loss, 1, 1, loss, metric, *limits, *arrays)
        self._kept = [loss, metric, squares]

    def chunks(self, arrays: tuple[Array, ...], runs: Runs) -> Chunks:
        """What `step` takes: the flat arrays of a step, cut where groups begin; to be had before
        `capture`."""
        starts = runs.starts * arrays[0].itemsize
        addresses = [each.data.ptr + starts for each in arrays]
        with self._backend.scope():
            return chunks_of(arrays[0], runs.sizes, addresses, runs.groups)

    def step(self, rule: Rule, chunks: Chunks) -> None:
        """Step the arrays (param, grad, then states) of `chunks`, which are in groups, with the
        step's coefficients."""
        kernel = table_kernel(rule, NAMES[chunks.like.dtype])
        rows = np.int32(self._columns // len(scalar_names(rule)))
        launch_chunks_with(kernel, chunks, chunks.groups, rows, self._table, self._clock)

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
            before = cupy.cuda.get_current_stream().record()
            self._stream.wait_event(before)
            clock, rows = np.split(self._host_given, [CLOCK])
            rows[: steps * self._columns] = table[:steps].ravel()
            words = clock.view("int64")
            words[:] = 0
            words[DRAWS] = draws
            words[ORDER] = 0 if order is None else order.data.ptr
            size = CLOCK + steps * self._columns
            try:
                with self._stream:
                    self._given[:size].set(self._host_given[:size])
                    for _ in range(steps):
                        self._graph.launch(self._stream)
                    self._found.get(out=self._host_found, blocking=False)
            finally:  # what it reads is the caller's
                self._stream.synchronize()
        self.not_finite = bool(self._host_clock[STOP] == NOT_FINITE)
        return int(self._host_clock[STEP])


_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


def _taken(size: int) -> Any:
    """Device memory for the pool of a graph, which must not give any back to get it.

    Where memory runs out CuPy's pools release the blocks that nobody has, and ask again; but a
    graph in the making has those that its earlier kernels work in.
    """
    import cupy

    try:
        return cupy.cuda.memory._malloc(size)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if error.status != _OUT_OF_MEMORY:
            raise
        raise cupy.cuda.memory.OutOfMemoryError(size, 0) from None


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
def decide_kernel(metric: str, columns: int) -> RawKernel:
    """graph_decide."""
    return RawKernel(cuda_text.DECIDE, metric, cuda_text.decide(metric, columns))
