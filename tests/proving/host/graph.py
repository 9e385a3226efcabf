"""The kernels of a captured step, on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cases import lists
from onepass.kernels.compiling import cuda_launch
from onepass.kernels.compiling.cuda_packs import packed_blocks
from onepass.kernels.graph import cupy_graph
from onepass.kernels.graph.cuda_text import CLOCK, FACTOR, ORDER, STEP, STOP
from oracles.rules import RULES as ORACLES

from proving.host import device as host_device
from proving.host.elementwise import on_host
from proving.host.walk import options_of

SIZES = (1, 64, 200, 7)
NULL = np.uint64(0)


def clock_of(step: int = 0, stop: int = 0, factor: float = 1.0, order: int = 0) -> Any:
    clock = np.zeros(CLOCK, np.int64)
    clock[STEP], clock[STOP], clock[ORDER] = step, stop, order
    clock.view(np.float64)[FACTOR] = factor
    return on_host(clock)


@dataclass(frozen=True)
class Device(host_device.Device):
    """How kernels are built and run in the place of a GPU."""

    def step(self, prepared: Any, columns: tuple[tuple[Any, ...], ...], stop: int = 0) -> None:
        """A rule's launch for each array, by the second row of a table of three."""
        rule, coefficients = prepared
        table = np.full((3, len(coefficients)), np.nan)
        table[1] = coefficients
        table[1, 0] *= 2  # which the clock's factor makes good
        with self.running():
            for arrays in zip(*columns, strict=True):
                first = arrays[0]
                kernel = cupy_graph.step_kernel(rule, first.dtype.name)
                given = np.int64(first.size), on_host(table.ravel()), clock_of(2, stop, 0.5)
                kernel(first, packed_blocks(first), cuda_launch.THREADS, *arrays, *given)

    def prove_steps(self, name: str, dtype: str, extra: str = "all") -> None:
        """Hold a rule to the oracle, which proves the text that ships."""
        function, options = options_of(name, extra)
        rule = ORACLES[function]
        drawn = lists.draw(rule, dtype, SIZES, options)
        calls = [{each: on_host(array) for each, array in call.items()} for call in drawn]
        self.prove(lambda _: lists.check(self.step, function, rule, options, calls, self.factor))
        assert self.launched[-1] == (f"{name}_by_table", dtype)

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
