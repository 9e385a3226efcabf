"""The kernels of a captured step, on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onepass.kernels.compiling.gpu.cuda_packs import launch_chunks_with
from onepass.kernels.graph import cupy_graph
from onepass.kernels.rule_engines import cupy_gpu
from onepass.kernels.rule_engines.cuda_clock import CLOCK, FACTOR, ORDER, STEP, STOP

from proving.host import chunks as host_chunks
from proving.host.elementwise import on_host

NULL = np.uint64(0)


def clock_of(step: int = 0, stop: int = 0, factor: float = 1.0, order: int = 0) -> Any:
    clock = np.zeros(CLOCK, np.int64)
    clock[STEP], clock[STOP], clock[ORDER] = step, stop, order
    clock.view(np.float64)[FACTOR] = factor
    return on_host(clock)


@dataclass(frozen=True)
class Device(host_chunks.Device):
    """How kernels are built and run in the place of a GPU."""

    def step(self, prepared: Any, columns: tuple[tuple[Any, ...], ...], stop: int = 0) -> None:
        """A rule's launch for arrays in two groups, in the second of three steps of a table."""
        rule, coefficients = prepared
        table = np.full((3, 2, len(coefficients)), np.nan)
        table[1] = coefficients
        table[1, :, 0] *= 2  # which the clock's factor makes good
        groups = np.arange(len(columns[0])) % 2
        with self.running():
            kernel = cupy_gpu.table_kernel(rule, columns[0][0].dtype.name)
            chunks, clock = self.table(*columns, groups=groups), clock_of(2, stop, 0.5)
            given = chunks.groups, np.int32(2), on_host(table.ravel()), clock
            launch_chunks_with(kernel, chunks, *given)

    def prove_table(self, name: str, dtype: str, extra: str = "all") -> None:
        """Hold a rule to the oracle, which proves the text that ships."""
        self.prove_steps(name, dtype, extra, way="by_table")

    def take(self, source: Any, order: Sequence[int], step: int, rows: int) -> Any:
        """The rows of a step."""
        numbers = on_host(np.array(order, np.int64))
        self.reached.append(numbers)
        room = on_host(np.zeros((rows, *source.shape[1:]), source.dtype))
        nbytes = np.int64(source.nbytes // len(source))
        clock = clock_of(step, order=numbers.ctypes.data)
        with self.running():
            given = on_host(source).view(np.int8).ravel(), room.view(np.int8).reshape(-1)
            cupy_graph.take_kernel()(room, rows, self.threads, *given, nbytes, clock)
        return room

    def decide(
        self, loss: float, metric: Any, squares: float | None, most: float, clock: Any
    ) -> Any:
        """What is noted of the second step, whose factor on gradients is -3."""
        table = on_host(np.array([np.nan, np.nan, -3.0, np.nan]))
        notes = on_host(np.full((2, 2), -1.0))
        total = NULL if squares is None else on_host(np.array(squares))
        with self.running():
            kernel = cupy_graph.decide_kernel(metric.dtype.name, 2)
            value, count = on_host(np.array(loss)), on_host(np.array(metric))
            kernel(value, 1, 1, value, count, total, np.float64(most), table, *notes, clock)
        return notes
