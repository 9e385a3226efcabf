"""Engine "cupy" of dropout on the CPU, with few threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from proving.host import device as host_device

THREADS, BLOCKS = 32, 3  # so few that each thread takes four elements several times


@dataclass(frozen=True)
class Device(host_device.Device):
    """How the kernel is built and run in the place of a GPU."""

    threads: int = THREADS
    blocks: int = BLOCKS

    where: ClassVar[str] = "operation"

    def dropout(self, x: Any, keep_prob: float, **options: Any) -> Any:
        """The public function, run here."""
        return self.kernel("dropout")(x, keep_prob, **options)
