"""Section "growth": cost against the number of tensors, of channels, of rows."""

from __future__ import annotations

from collections.abc import Iterable

from ...cases.batch_norm import NormCase
from ...cases.sizes import GROWING_TENSOR, NORM_GROWTH, NORM_GROWTH_FIXED, TENSOR_COUNTS
from ...measuring.candidate import Candidate
from ...measuring.workload import Workload
from .batch_norm import Norm
from .tensors import Tensors


class Grown(Workload):
    """Another section's workload, by what grows in it."""

    section = "growth"

    def __init__(
        self, workload: Workload, operation: str, size: int, paths: tuple[str, ...]
    ) -> None:
        self.workload, self.operation, self._size, self._paths = workload, operation, size, paths
        self.label, self.dtype, self.device = workload.label, workload.dtype, workload.device

    @property
    def size(self) -> int:
        return self._size

    @property
    def bytes(self) -> int:
        return self.workload.bytes

    @property
    def paths(self) -> tuple[str, ...]:
        return self._paths

    def missing(self, path: str) -> str:
        return self.workload.missing(path)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        return self.workload.prepare(paths)


def growths(device: str = "cpu") -> list[Workload]:
    """Every row of the section."""
    fused = "numba" if device == "cpu" else "cupy"
    fixed = NORM_GROWTH_FIXED
    return [
        *(
            Grown(
                Tensors(count, GROWING_TENSOR, device),
                "adam by tensors",
                count,
                ("separate", "flat", "torch foreach", "torch fused"),
            )
            for count in TENSOR_COUNTS
        ),
        *(
            Grown(
                Norm(NormCase(shape), "forward+backward", device=device),
                f"batch norm by {what}",
                size,
                ("array", fused, "torch"),
            )
            for what, shapes in (
                ("channels", {size: (fixed, size) for size in NORM_GROWTH}),
                ("batch", {size: (size, fixed) for size in NORM_GROWTH}),
            )
            for size, shape in shapes.items()
        ),
    ]
