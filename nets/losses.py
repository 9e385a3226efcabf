"""What training makes small: what every loss is, and the one for classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ..kernels import softmax_cross_entropy
from ..kernels.softmax.arguments import check_labels, check_logits
from .loss_arguments import arrays_of
from .types import Array, HostArray


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


class SoftmaxCrossEntropy(Loss):
    """Softmax, then cross-entropy, as one stable function of the logits.

        p = exp(z - max z) / sum of exp(z - max z), each row on its own
        J = mean over rows of -w log p[k]
        dJ/dz = w (p - onehot(k)) / n

    `kernels.softmax_cross_entropy` computes it, and says what it refuses. Called with logits z,
    (n, C), class numbers k, (n,), and weights w, (n,) or None for 1. NumPy labels outside 0..C-1
    raise ValueError; labels that lie on a GPU are not read back for that, and one outside makes
    the loss and its row of the gradient nan. `fit` checks the whole set once, before training.

    The metric is accuracy: a row is right where its largest logit is that of its class.

    Source: Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.108 and 4.109.
    """

    of_logits: ClassVar[str] = "softmax"

    def check(self, targets: Array, rows: int, width: int) -> None:
        check_labels(targets, rows)
        for label in (int(targets.min()), int(targets.max())):
            if not 0 <= label < width:
                raise ValueError(
                    f"labels hold {label}; expected 0..{width - 1} for {width} logits. Number the "
                    "classes from 0, and give the last layer an output for each"
                )

    def __call__(
        self, output: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        output, targets, weights = arrays_of(output, targets, weights, called="labels")
        check_logits("output", output)
        return softmax_cross_entropy(output, targets, weights=weights)

    def measure(self, output: Array, targets: Array) -> Array:
        output, targets, _ = arrays_of(output, targets, called="labels")
        return (output.argmax(axis=1) == targets).sum()

    def labels(self, targets: HostArray) -> HostArray | None:
        return targets
