"""What an engine of activations owes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from ...backend import Array
from ..operation import OperationEngine


class ActivationEngine(OperationEngine):
    """Runs on checked arrays of one device, dtype and shape, not empty.

    `bias` and `bias_grad` are (width,) along the last axis, or None. The result may be the very
    array x, or dy; besides that nothing overlaps. On a GPU all memory is taken, and all code is
    compiled, before anything is written that a user sees.
    """

    strided: ClassVar[bool] = True
    """Whether it takes arrays that are not contiguous, or of another byte order (runs.py)."""

    def quick_forward(self, x: Any, kind: Any, bias: Any, slope: Any, out: Any) -> Array | None:
        """y of unchecked arguments if that is safe; None if nothing was done."""
        return None

    def quick_backward(
        self, dy: Any, y: Any, kind: Any, slope: Any, bias_grad: Any, out: Any
    ) -> Array | None:
        """dz of unchecked arguments if that is safe; None if nothing was done."""
        return None

    @abstractmethod
    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, slope: float, fresh: bool
    ) -> None:
        """Write y; `fresh`: it is new memory, which no user sees yet."""

    @abstractmethod
    def backward(
        self,
        dy: Array,
        y: Array,
        dz: Array,
        bias_grad: Array | None,
        kind: str,
        slope: float,
        fresh: bool,
    ) -> None:
        """Write dz and bias_grad; `fresh`: dz is new memory, which no user sees yet."""
