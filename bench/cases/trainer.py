"""What trains the network of section "training": 784-256-128-10, or as wide as the data.

Dense without bias, batch normalization with ReLU, twice, then Dense; Adam, lr 1e-3. All trainers
start from the same weights and take the same batches in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...nets import History
from ...nets.types import HostArray

HIDDEN = (256, 128)
LR = 1e-3
Pair = tuple[HostArray, HostArray]


class Trainer(ABC):
    """A network with its optimizer."""

    @abstractmethod
    def train(self, data: Pair, epochs: int = 1, validation: Pair | None = None) -> History:
        """Train on NumPy rows and labels, and go on from what was learned before."""

    @abstractmethod
    def weights(self) -> dict[str, HostArray]:
        """Parameters and running statistics, named and laid out as `Sequential.state_dict` does."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the first weights and running statistics, and an optimizer before step 1."""
