"""The GPUs of the page: what their makers say of them, and what the model assumes."""

from __future__ import annotations

from typing import NamedTuple

COPY = 0.9
"""Of the bandwidth in the data sheet, what a copy on the device is taken to reach."""

SCHEDULERS, LANES = 4, 32  # of a multiprocessor, of which each begins one instruction a cycle
DEPENDENT = 4  # cycles from an instruction to the next one of its thread; assumed
REGISTERS = 1 << 16  # of a multiprocessor


class Device(NamedTuple):
    """One GPU.

    Attributes:
        multiprocessors, hertz: with boost.
        bytes_per_second: of its memory, by the data sheet.
        threads: that a multiprocessor holds at most.
        latency: seconds from a load to its value while memory is busy; assumed.
    """

    name: str
    multiprocessors: int
    hertz: float
    bytes_per_second: float
    threads: int
    latency: float

    @property
    def copied(self) -> float:
        """Bytes a second, read and written, that a copy is taken to move."""
        return COPY * self.bytes_per_second

    @property
    def instructions(self) -> float:
        """That all lanes together begin in a second."""
        return self.multiprocessors * SCHEDULERS * LANES * self.hertz


DEVICES = (
    Device("H200", 132, 1.755e9, 4.8e12, 2048, 0.75e-6),
    Device("A100 80 GB", 108, 1.41e9, 2.039e12, 2048, 0.6e-6),
    Device("RTX 4090", 128, 2.52e9, 1.008e12, 1536, 0.6e-6),
)
