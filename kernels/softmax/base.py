"""What an engine of softmax cross-entropy owes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ...backend import Array


class SoftmaxEngine(ABC):
    """Runs on checked arrays of one device: logits (n, C), labels (n,), gradient like logits."""

    def missing(self, kind: str) -> str:
        """Why it can't take logits of a dtype, by its character, on this machine; or ""."""
        return ""

    def quick(self, logits: Any, labels: Any, out: Any) -> tuple[Array, Array] | None:
        """(loss, gradient) of unchecked arguments if that is safe; None if nothing was done."""
        return None

    @abstractmethod
    def run(self, logits: Array, labels: Array, gradient: Array) -> Array:
        """Write the gradient, which may be the logits themselves, and return the loss."""
