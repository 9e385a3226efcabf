"""What training makes small."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..kernels import softmax_cross_entropy
from ..kernels.softmax.arguments import check_logits, check_range
from .types import Array


class Loss(ABC):
    """The mean over a batch of how wrong an output is, and its gradient."""

    @abstractmethod
    def check(self, labels: Array, rows: int, width: int) -> None:
        """Refuse `labels` that don't fit an output of shape (rows, width).

        Reads the values, and so waits for a GPU they lie on: `fit` calls it once for a data set,
        not once for a batch.
        """

    @abstractmethod
    def __call__(self, output: Array, labels: Array) -> tuple[Array, Array]:
        """(mean loss, 0-d float64; gradient, of the shape and dtype of `output`)."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class SoftmaxCrossEntropy(Loss):
    """Softmax, then cross-entropy, as one stable function of the logits.

        p = exp(z - max z) / sum of exp(z - max z), each row on its own
        J = mean over rows of -log p[k]
        dJ/dz = (p - onehot(k)) / n

    `kernels.softmax_cross_entropy` computes it, and says what it refuses. Called with logits z,
    (n, C), and class numbers k, (n,). NumPy labels outside 0..C-1 raise ValueError; labels that
    lie on a GPU are not read back for that, and one outside makes the loss and its row of the
    gradient nan. `fit` checks the whole set once, before training.

    Source: Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.108 and 4.109.
    """

    def check(self, labels: Array, rows: int, width: int) -> None:
        check_range(labels, rows, width)

    def __call__(self, output: Array, labels: Array) -> tuple[Array, Array]:
        check_logits("output", output)
        return softmax_cross_entropy(output, labels)
