"""What an engine of softmax cross-entropy owes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ...backend import Array, backend_of
from ..operation import OperationEngine


class SoftmaxEngine(OperationEngine):
    """Runs on checked arrays of one device: logits (n, C), labels and weights (n,), gradient
    like logits, correct () in int64."""

    def quick(
        self,
        logits: Any,
        labels: Any,
        weights: Any,
        out: Any,
        correct: Any,
        label_smoothing: float,
    ) -> tuple[Array, Array] | None:
        """(loss, gradient) of unchecked arguments, but for the last, if that is safe; None if
        nothing was done."""
        return None

    def run(
        self,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
        correct: Array | None = None,
        label_smoothing: float = 0.0,
    ) -> Array:
        """Write the gradient, which may be the logits themselves, and into `correct` how many rows
        are right; return the loss.

        On a GPU it takes all its memory and has all its kernels compiled before it writes.
        """
        if correct is None:
            return self.loss(logits, labels, weights, gradient, label_smoothing)
        right = right_rows(logits, labels)  # before the gradient, which may replace them
        correct[...] = correct.copy()  # its own value: what copies it is compiled now
        loss = self.loss(logits, labels, weights, gradient, label_smoothing)
        correct[...] = right
        return loss

    @abstractmethod
    def loss(
        self, logits: Array, labels: Array, weights: Array | None, gradient: Array,
        label_smoothing: float,
    ) -> Array:  # fmt: skip
        """`run` without `correct`; an engine that counts on its way has a `run` of its own."""


def right_rows(logits: Array, labels: Array) -> Array:
    """How many rows of finite loss have their first largest logit at their label: 0-d."""
    finite = backend_of(logits).xp.isfinite(logits.max(axis=1))
    return ((logits.argmax(axis=1) == labels) & finite).sum()
