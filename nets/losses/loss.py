"""What every loss is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from ..types import Array, HostArray


class Loss(ABC):
    """The mean over a batch of how wrong an output is, its gradient, and a metric for people.

    Attributes:
        metric: name of what `measure` adds up, such as "accuracy" or "mae".
        larger_is_better: which way the metric improves.
        of_logits: "sigmoid" or "softmax", where the loss applies it to the output itself; else "".
    """

    metric: ClassVar[str] = "accuracy"
    larger_is_better: ClassVar[bool] = True
    of_logits: ClassVar[str] = ""

    @abstractmethod
    def check(self, targets: Array, rows: int, width: int) -> None:
        """Refuse `targets` that don't fit an output of shape (rows, width).

        Reads the values, and so waits for a GPU they lie on: `fit` calls it once for a data set,
        not once for a batch.
        """

    @abstractmethod
    def __call__(
        self, output: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """(mean loss, 0-d float64; gradient, of the shape and dtype of `output`).

        weights: (n,), a factor on the loss of each row: J = sum_i w_i loss_i / n.
        """

    @abstractmethod
    def measure(self, output: Array, targets: Array) -> Array:
        """The metric, added up over the rows: 0-d, where `output` lies, and not waited for."""

    def with_metric(
        self, output: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """(mean loss, gradient, metric), as a call and `measure` give them."""
        mean, gradient = self(output, targets, *(() if weights is None else (weights,)))
        return mean, gradient, self.measure(output, targets)

    def record(self, recorder: Any, output: Array, targets: Array, weights: Array | None) -> Array:
        """Write the loss, its metric and its gradient down, as `Layer.record` does a layer.

        Args:
            recorder: as there.
            output: (n, k), left untouched.
            targets, weights: as `given_to_record` makes them.

        Returns:
            the gradient, in memory of the recorder's.

        Raises:
            NotImplementedError: it can't be written down.
        """
        raise NotImplementedError(f"{self!r} has no method record")

    def given_to_record(
        self, targets: HostArray, weights: HostArray | None, dtype: Any
    ) -> tuple[HostArray, HostArray | None]:
        """Targets (n, k) and weights (n,) or None of all samples, as `record` takes their rows:
        of the network's dtype, contiguous."""
        targets = targets.reshape(len(targets), -1)
        weights = None if weights is None else np.ascontiguousarray(weights, dtype)
        return np.ascontiguousarray(targets, dtype), weights

    def labels(self, targets: HostArray) -> HostArray | None:
        """The class number of each row, (n,); None where the targets are no classes."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
