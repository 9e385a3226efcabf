"""A launch of a kernel that does nothing: what no call on a GPU can be below."""

from __future__ import annotations

from collections.abc import Iterable

from ...backend import get_backend
from ..measuring.candidate import Candidate
from ..measuring.synchronized import waited
from ..measuring.workload import Workload
from .cupy_clocks import empty_launch


class Launch(Workload):
    """By CuPy, as the engine "cupy" launches."""

    section, operation, label, dtype = "calls", "launch", "nothing", "float32"
    size, bytes = 1, 0

    def __init__(self, device: str = "cuda") -> None:
        self.device = device

    @property
    def paths(self) -> tuple[str, ...]:
        return ("limit",)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        backend = get_backend(self.device)
        return {path: Candidate(waited(empty_launch(), backend)) for path in paths}
