"""Section "busy": the training epoch of each library beside other processes that never rest.

A library whose threads wait for each other at full speed loses far more than its share of a core
there. Each is compared with its own quiet epoch of the same run.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

from ....nets import Dataset
from ...measuring.busy_processes import LOOP, PRODUCTS, beside
from ...measuring.timing import Effort
from ...peers.trainers import OTHER
from ...report.sheets.busy import QUIET
from .epochs import Epoch

SITUATIONS = {
    QUIET: (),
    "beside a loop": (LOOP,),
    "beside two loops": (LOOP, LOOP),
    "beside NumPy": (PRODUCTS,),
}
"""What runs beside an epoch, a process each: bare loops, or products of large matrices."""

PATHS = ("onepass", "jax scan", "torch fused", OTHER)
MORE = ("jax step", "torch compile")
BATCH = 128
_BLOCK = 0.3  # seconds, of several slices that the system gives to a process


class BusyEpoch(Epoch):
    """An epoch in one of the situations."""

    section = "busy"

    def __init__(self, data: Dataset, situation: str, compiled: bool = True) -> None:
        """compiled: whether torch.compile and JAX's single steps are among the paths."""
        super().__init__(data, BATCH, compiled)
        self.operation, self.label = situation, f"{data.name.lower()}, batch {BATCH}"
        self.warm = True

    @property
    def paths(self) -> tuple[str, ...]:
        return (*PATHS, *MORE) if self.compiled else PATHS

    def around(self) -> AbstractContextManager[None]:
        return beside(*SITUATIONS[self.operation])

    def effort(self, given: Effort) -> Effort:
        """Fewer and longer blocks: what is slow beside others may take seconds a call."""
        return replace(given, rounds=-(-given.rounds // 2), block=_BLOCK if given.block else 0.0)
