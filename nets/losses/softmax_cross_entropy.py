"""The loss for classes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...backend import backend_of
from ...backend.checks.classes import check_labels, check_logits
from ...backend.checks.numbers import share
from ...kernels import softmax_cross_entropy
from ..types import Array, HostArray
from .loss import Loss
from .number_targets import arrays_of


class SoftmaxCrossEntropy(Loss):
    """Softmax, then cross-entropy, as one stable function of the logits.

        p = exp(z - max z) / sum of exp(z - max z), each row on its own
        t = (1 - s) onehot(k) + s / C
        J = mean over rows of -w (t . log p), which is -w log p[k] for s = 0
        dJ/dz = w (p - t) / n

    `kernels.softmax_cross_entropy` computes it, and says what it refuses. Called with logits z,
    (n, C), class numbers k, (n,), and weights w, (n,) or None for 1. NumPy labels outside 0..C-1
    raise ValueError; labels that lie on a GPU are not read back for that, and one outside makes
    the loss and its row of the gradient nan. `fit` checks the whole set once, before training.

    The metric is accuracy: a row is right where its largest logit is that of its class.

    Args:
        label_smoothing: s, in [0, 1): the share of each label that goes to all C classes alike, so
            that no logit gains by growing for ever. 0.1 is usual.

    Attributes:
        label_smoothing: as given; to change it take another loss.

    Conventions: s means what it does in PyTorch's CrossEntropyLoss and in Keras. Weights, such as
        those that `fit` makes of class_weight, are factors on a row's whole loss; PyTorch's weigh
        the part of each class by that class's own.

    Source: Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.108 and 4.109; Szegedy et
        al. 2016, Rethinking the Inception Architecture for Computer Vision, section 7.
    """

    of_logits: ClassVar[str] = "softmax"
    _label_smoothing: float = 0.0  # of a subclass that calls no __init__ of its parent too

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self._label_smoothing = share("label_smoothing", label_smoothing)

    @property
    def label_smoothing(self) -> float:
        return self._label_smoothing

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
        smoothing = self.label_smoothing
        return softmax_cross_entropy(output, targets, weights=weights, label_smoothing=smoothing)

    def with_metric(
        self, output: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """On a GPU by one kernel; a row that makes the loss nan is never right there."""
        own = type(self).__call__, type(self).measure
        plain = own == (SoftmaxCrossEntropy.__call__, SoftmaxCrossEntropy.measure)
        if type(output) is np.ndarray or not plain:
            return super().with_metric(output, targets, weights)
        output, targets, weights = arrays_of(output, targets, weights, called="labels")
        check_logits("output", output)
        correct = backend_of(output).xp.empty((), "int64")
        given = {"weights": weights, "label_smoothing": self.label_smoothing, "correct": correct}
        return (*softmax_cross_entropy(output, targets, **given), correct)

    def record(self, recorder: Any, output: Array, targets: Array, weights: Array | None) -> Array:
        out, smoothing = recorder.empty(*output.shape), self.label_smoothing
        return recorder.softmax_cross_entropy(
            output, targets, weights, out=out, label_smoothing=smoothing
        )

    def given_to_record(
        self, targets: HostArray, weights: HostArray | None, dtype: Any
    ) -> tuple[HostArray, HostArray | None]:
        """Labels as int64 and weights as float64, (n,) both."""
        weights = None if weights is None else np.ascontiguousarray(weights, np.float64)
        return np.ascontiguousarray(targets, np.int64), weights

    def measure(self, output: Array, targets: Array) -> Array:
        output, targets, _ = arrays_of(output, targets, called="labels")
        return (output.argmax(axis=1) == targets).sum()

    def labels(self, targets: HostArray) -> HostArray | None:
        return targets

    def __repr__(self) -> str:
        told = f"label_smoothing={self.label_smoothing}" if self.label_smoothing else ""
        return f"{type(self).__name__}({told})"
