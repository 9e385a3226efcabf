"""What every loss is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

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

    def labels(self, targets: HostArray) -> HostArray | None:
        """The class number of each row, (n,); None where the targets are no classes."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
