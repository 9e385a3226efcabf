"""Section "elementwise": what its workloads share."""

from __future__ import annotations

from math import prod

from ...measuring.workload import Workload


class Elementwise(Workload):
    """One public call on an array of `shape`, as a user writes it: a new array each time."""

    section, dtype = "elementwise", "float32"

    def __init__(self, shape: tuple[int, ...], device: str = "cpu") -> None:
        self.shape, self.device = shape, device
        self.label = f"({', '.join(map(str, shape))})"

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def paths(self) -> tuple[str, ...]:
        return "array", "tuned", *self.fused, "limit", "torch"
