"""What an engine of activations owes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, TypeAlias

from ...backend import Array
from ..operation import OperationEngine

Numbers: TypeAlias = tuple[float, float]
"""The options of a kind, in their order; 0 where there is none."""


class ActivationEngine(OperationEngine):
    """Runs on checked arrays of one device, dtype and shape, not empty.

    `bias` and `bias_grad` are (width,) along the last axis, or None. The result may be the very
    array x, or dy; besides that nothing overlaps. On a GPU all memory is taken, and all code is
    compiled, before anything is written that a user sees. In a backward y is x of kinds whose
    gradient is told from it, and `bias` is that of these, None of others.
    """

    strided: ClassVar[bool] = True
    """Whether it takes arrays that are not contiguous, or of another byte order (runs.py)."""

    def quick_forward(
        self, x: Any, kind: str, numbers: Numbers, bias: Any, out: Any
    ) -> Array | None:
        """y of unchecked arrays if that is safe; None if nothing was done."""
        return None

    def quick_backward(
        self, dy: Any, y: Any, kind: str, numbers: Numbers, bias: Any, bias_grad: Any, out: Any
    ) -> Array | None:
        """dz of unchecked arrays if that is safe; None if nothing was done."""
        return None

    @abstractmethod
    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, numbers: Numbers, fresh: bool
    ) -> None:
        """Write y; `fresh`: it is new memory, which no user sees yet."""

    @abstractmethod
    def backward(
        self,
        dy: Array,
        y: Array,
        dz: Array,
        bias: Array | None,
        bias_grad: Array | None,
        kind: str,
        numbers: Numbers,
        fresh: bool,
    ) -> None:
        """Write dz and bias_grad; `fresh`: dz is new memory, which no user sees yet."""
