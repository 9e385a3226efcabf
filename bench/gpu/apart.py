"""Sections "kernels" and "calls": workloads of other sections, the GPU's time and the host's apart.

There, a path's call is waited for; here it is not, and its time is what one clock tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from ..measuring.candidate import Call, Candidate
from ..measuring.synchronized import not_waited
from ..measuring.timing import Effort
from ..measuring.workload import Workload
from .cupy_clocks import gpu_seconds, host_seconds


class Apart(Workload):
    """Another workload by one of the two clocks, and by some of its paths."""

    clock: Callable[[Call], float]

    def __init__(self, work: Workload, paths: Iterable[str] = ()) -> None:
        """paths: those wanted; all of the workload's if there are none."""
        self.work, self._paths = work, tuple(paths) or work.paths
        self.label, self.dtype, self.device = work.label, work.dtype, work.device
        self.operation = work.operation

    @property
    def size(self) -> int:
        return self.work.size

    @property
    def bytes(self) -> int:
        return self.work.bytes

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for path in self.work.paths if path in self._paths)

    def missing(self, path: str) -> str:
        return self.work.missing(path)

    def effort(self, given: Effort) -> Effort:
        """A clock's turn has many calls; a block, one turn."""
        return Effort(given.rounds, block=0.0, least=1)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        with not_waited():
            made = self.work.prepare(paths)
        clock = type(self).clock
        return {
            path: replace(one, call=partial(clock, one.call), told=True)
            for path, one in made.items()
        }


class OnTheGpu(Apart):
    """How long the GPU works on a call."""

    section = "kernels"
    clock = staticmethod(gpu_seconds)


class OnTheHost(Apart):
    """How long a call keeps the host. Its limit is a launch of nothing."""

    section = "calls"
    clock = staticmethod(host_seconds)
