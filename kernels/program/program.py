"""A program: calls of kernels on arrays that stay, written down once and run many times.

Each call became an instruction: a compiled function, how its range is shared, and the address of a
job, in which all else stands. A run is one call of compiled code that works through the list once a
step, by the crew of threads; no Python, and no memory but what is there already.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..crew.crew import get_crew
from ..crew.pace import Pace

PATIENCE = 50_000  # polls of a nanosecond or so, for which a helper that is late is waited for


class Program:
    """Kernel calls in order, to be run once a step.

    Args:
        stops: whether instructions that find numbers that are not finite stop a run.
        shared: whether threads share its instructions.

    Attributes:
        clock: words that instructions look at: the step within a run, counted from 0, the next
            instruction, and whether to stop.
        asked: the clock on which they say that a run is to stop: this one, or one that nobody
            looks at.
    """

    def __init__(self, stops: bool = True, shared: bool = True) -> None:
        self.shared = shared
        self.clock = np.zeros(3, np.int64)
        self.asked = self.clock if stops else self.clock.copy()
        self._instructions: list[tuple[int, ...]] = []
        self._names: list[str] = []
        self._kept: list[Any] = []
        self._table: np.ndarray | None = None
        self._pace = Pace()

    def __len__(self) -> int:
        return len(self._instructions)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """New memory, which begins at a cache line."""
        dtype = np.dtype(dtype)
        nbytes = int(np.prod(shape)) * dtype.itemsize
        room = np.zeros(nbytes + 64, np.uint8)
        start = -room.ctypes.data % 64
        return room[start : start + nbytes].view(dtype).reshape(shape)

    def add(
        self,
        function: int,
        job: np.ndarray,
        *kept: Any,
        size: int = 1,
        chunk: int = 0,
        nanoseconds: float = 0.0,
        name: str = "other",
    ) -> None:
        """Put an instruction at the end.

        Args:
            function: the address of a C function void(low, high, job).
            job: what it is given the address of; `kept`: what is to live as long as it.
            size: of its range.
            chunk: how many of it a thread takes at a time; 0: one thread takes all.
            nanoseconds: what a chunk may take, where that is more than a few microseconds.
            name: what kind of work it is, for `timed`.
        """
        polls = PATIENCE + int(nanoseconds)
        chunk = chunk if self.shared else 0
        self._instructions.append((function, size, chunk, job.ctypes.data, polls))
        self._names.append(name)
        self._kept += [job, kept]
        self._table = None

    def run(self, steps: int, start: int = 0) -> int:
        """Run it for that many steps, from instruction `start` on in the first; steps that ended.

        Fewer, where an instruction has asked to stop: the last is then not done to its end.
        """
        self.clock[:] = 0, start, 0
        get_crew().follow(self.table(), self.clock, steps, self, self._pace)
        return int(self.clock[0])

    def table(self) -> np.ndarray:
        """The instructions, as `board.follow` takes them."""
        if self._table is None:
            self._table = np.array(self._instructions, np.int64).reshape(-1, 5)
        return self._table

    def timed(self) -> list[tuple[str, int]]:
        """Run it for one step, and tell how long each instruction took: (its name, nanoseconds).

        As `run` does, but for a look at the clock between instructions. Shorter than the program
        where an instruction has asked to stop, which is then left out.

        Raises:
            NotImplementedError: there is no clock that compiled code can call; nothing was done.
        """
        from .numba_clock import NANOSECONDS, SECONDS, clocks

        rows, looks = clocks(len(self) + 1)
        mixed = [each for pair in zip(looks, self._instructions, strict=False) for each in pair]
        table = np.array([*mixed, looks[-1]], np.int64)
        self.clock[:] = 0
        get_crew().follow(table, self.clock, 1, (self, rows, table), self._pace)
        times = rows[:, SECONDS] * 10**9 + rows[:, NANOSECONDS]
        taken = np.diff(times[times > 0]).tolist()
        return list(zip(self._names, taken, strict=False))
