"""The network of section "training" by PyTorch, its whole step compiled by torch.compile."""

from __future__ import annotations

from typing import Any

from ...nets.types import HostArray
from .torch_compile import forget_compiled
from .torch_trainer import Torch
from .undisturbed import undisturbed


class CompiledTorch(Torch):
    """Forward, loss, backward and fused Adam in one compiled function of a batch.

    It is compiled for whole batches when this is made. A last, smaller batch goes through the same
    function uncompiled: for another shape all would be compiled once more. What other compiled
    functions there are in the process is compiled anew when they are called again.
    """

    def __init__(
        self, start: dict[str, HostArray], width: int, classes: int, batch: int, seed: int = 0
    ):
        super().__init__(start, width, classes, batch, seed)
        import torch

        forget_compiled()
        self._compiled = torch.compile(self._learn, dynamic=False)
        self.model.train()
        with undisturbed():
            for _ in range(2):  # Adam's states are there from the second step on
                self._compiled(torch.zeros(batch, width), torch.zeros(batch, dtype=torch.int64))
        self.reset()

    def _step(self, rows: Any, labels: Any) -> tuple[Any, Any]:
        whole = len(rows) == self.batch
        found: tuple[Any, Any] = (self._compiled if whole else self._learn)(rows, labels)
        return found
