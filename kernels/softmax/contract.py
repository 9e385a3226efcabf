"""What an engine of softmax cross-entropy owes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ...backend import Array
from ..operation import OperationEngine


class SoftmaxEngine(OperationEngine):
    """Runs on checked arrays of one device: logits (n, C), labels and weights (n,), gradient
    like logits, correct () in int64."""

    def quick(
        self, logits: Any, labels: Any, weights: Any, out: Any, correct: Any
    ) -> tuple[Array, Array] | None:
        """(loss, gradient) of unchecked arguments if that is safe; None if nothing was done."""
        return None

    @abstractmethod
    def run(
        self,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
        correct: Array | None = None,
    ) -> Array:
        """Write the gradient, which may be the logits themselves, and into `correct` how many rows
        are right; return the loss.

        On a GPU it takes all its memory and has all its kernels compiled before it writes.
        """
