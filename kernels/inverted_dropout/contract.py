"""What an engine of dropout owes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

from ...backend import Array
from ..operation import OperationEngine


class Mask(NamedTuple):
    """Which elements are kept, and what they are multiplied by.

    Attributes:
        last: the largest 32-bit number that keeps an element.
        scale: 1 / keep_prob.
        seed, draw: of the generator, 64 bits each.
    """

    last: int
    scale: float
    seed: int
    draw: int


class DropoutEngine(OperationEngine):
    """Runs on checked arrays of one device, shape and dtype, not empty; y may be x.

    The device is the current one. On a GPU y is written by the last launch, which takes no memory.
    """

    def quick(self, x: Any, mask: Mask, out: Any) -> Array | None:
        """y of unchecked arrays if that is safe; None if nothing was done."""
        return None

    @abstractmethod
    def run(self, x: Array, y: Array, mask: Mask) -> None:
        """Write y; elements are counted in C order, whatever the layout."""
