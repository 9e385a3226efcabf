"""A workload: one thing to measure, and the paths that do it.

`onepass bench` lets the paths of a workload take turns and compares them; bench_sections.py times
each with pytest-benchmark. Both take the workloads from the same lists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from .candidate import Call, Candidate
from .measurement import Measurement
from .peak_memory import peak_memory
from .timing import Effort, interleaved
from .why_missing import why_missing

_IN_NUMPY = ("array", "tuned", "serial", "numba")


class Workload(ABC):
    """One operation on one size, dtype and device."""

    section: str
    warm: bool = True
    """Whether repeated calls say more than single ones: see `interleaved`."""
    pause: float = 0.01
    """Seconds of rest before a block on the CPU, in which other libraries' threads go to sleep."""
    operation: str
    label: str
    dtype: str
    device: str

    @property
    @abstractmethod
    def size(self) -> int:
        """What grows from label to label: elements, tensors, rows."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """What any path has to read and write at least."""

    @property
    @abstractmethod
    def paths(self) -> tuple[str, ...]:
        """The names of all paths, available or not."""

    @abstractmethod
    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        """Make the arrays, assert that each of these paths computes what it must, and compile.

        Raises:
            AssertionError: a path's result differs from the reference.
        """

    def missing(self, path: str) -> str:
        """Why `path` can't run here; "" if it can."""
        return why_missing(path, self.device)

    def around(self) -> AbstractContextManager[None]:
        """What is there while the paths are timed alone: other processes, say."""
        return nullcontext()

    def effort(self, given: Effort) -> Effort:
        """How long to measure, where a run of this length gives its workloads `given`."""
        return given if self.warm else replace(given, rounds=max(2, given.rounds // 2))

    @property
    def fused(self) -> tuple[str, ...]:
        """The paths that are engines of ours with kernels, on this device."""
        return ("numba",) if self.device == "cpu" else ("cupy", "numba-cuda")

    def memory(self, path: str, call: Call) -> int | None:
        """What `call` allocates at its peak, where NumPy tells: see `peak_memory`."""
        return peak_memory(call) if self.device == "cpu" and path in _IN_NUMPY else None

    def facts(self, path: str, candidate: Candidate) -> dict[str, Any]:
        """All that a `Measurement` holds beside the timing."""
        return {
            "section": self.section,
            "operation": self.operation,
            "label": self.label,
            "dtype": self.dtype,
            "device": self.device,
            "size": self.size,
            "path": path,
            "bytes": self.bytes,
            "moved": candidate.moved,
            "launches": candidate.launches,
            "memory": candidate.memory,
        }

    def __repr__(self) -> str:
        return f"{self.section}-{self.id}"

    @property
    def id(self) -> str:
        """Short and unique within its section, for pytest."""
        words = "-".join((self.operation, self.label, self.dtype, self.device))
        return words.replace(", ", ",").replace(" ", "_")


def measure(workload: Workload, paths: Iterable[str], effort: Effort) -> list[Measurement]:
    """Let `paths` take turns; a measurement of each."""
    candidates = workload.prepare(paths)
    effort = workload.effort(effort)
    pause = workload.pause if workload.device == "cpu" else 0.0  # beside a GPU no thread spins on
    with workload.around():
        times = interleaved(candidates, **vars(effort), warm=workload.warm, pause=pause)
    return [
        Measurement(**workload.facts(path, candidate), timing=times[path])
        for path, candidate in candidates.items()
    ]
