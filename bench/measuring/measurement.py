"""One measurement: a path, a workload, and its time."""

from __future__ import annotations

from dataclasses import dataclass

from .timing import Timing


@dataclass(frozen=True)
class Measurement:
    """How long one path took for one workload.

    Attributes:
        section: the part of the suite: "steps", "batch-norm", "training", ...
        operation: what is computed, such as "adam".
        label: how much of it, for people: "1e6", "(32, 64, 56, 56)".
        dtype, device: of the arrays.
        size: how much of it, as a number: what grows from label to label.
        path: who did it: "array", "tuned", "numba", "limit", "torch fused", ...
        timing: seconds a call.
        bytes: what any path has to move at least, read and written; 0 where nothing is said.
        moved: what this path's own passes read and write, where they were counted.
        launches: passes over the arrays, or kernels started, where they were counted.
        memory: bytes allocated at the peak beyond the arrays given, where they were counted.
    """

    section: str
    operation: str
    label: str
    dtype: str
    device: str
    size: int
    path: str
    timing: Timing
    bytes: int = 0
    moved: int | None = None
    launches: int | None = None
    memory: int | None = None

    @property
    def workload(self) -> tuple[str, str, str, str, str]:
        """What the paths of one workload share."""
        return self.section, self.operation, self.label, self.dtype, self.device

    @property
    def name(self) -> str:
        """All of it in one line."""
        return " ".join((*self.workload, self.path))

    @property
    def rate(self) -> float:
        """Gigabytes a second, of the bytes that must be moved."""
        return self.bytes / self.timing.median / 1e9
