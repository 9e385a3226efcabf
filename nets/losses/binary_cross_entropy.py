"""The loss of logistic regression, and of every network whose outputs are sigmoids."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...backend import backend_of
from ...backend.checks.classes import numbering
from ..types import Array, HostArray
from .loss import Loss
from .number_targets import (
    aligned,
    arrays_of,
    check_numbers,
    check_output,
    check_shape,
    compute_dtype,
    row_factors,
)

_KINDS = "biuf"


class BinaryCrossEntropy(Loss):
    """Sigmoid, then cross-entropy of two classes, as one stable function of the logit.

        a = 1 / (1 + exp(-z))
        J = mean over rows of -w sum over j of (y log a + (1 - y) log(1 - a))
          = mean over rows of w sum over j of (max(z, 0) - z y + log(1 + exp(-|z|)))
        dJ/dz = w (a - y) / n

    The second form neither overflows nor takes the logarithm of an a that was rounded to 0 or 1.
    The gradient is computed as (1 - y) a - y (1 - a), with 1 - a from z itself, so that it keeps
    its relative accuracy where a is nearly y.

    Called with logits z: the network ends in a linear layer, without a sigmoid of its own. One
    label a row: z is (n, 1) or (n,), labels y have the same shape or (n,). Several labels a row, of
    which any number may apply: z and y are (n, L), with a sigmoid for each. Labels are 0 and 1, as
    integers or bool, or numbers between them; `fit` refuses others. Weights w are (n,), or None for
    1. float16 computes in float32.

    The metric is accuracy: a label is right where z > 0 and y > 1/2, or neither, and a row where
    all of its labels are, which scikit-learn calls subset accuracy.

    Conventions: the losses of a row's labels are added up, as in scikit-learn's MLPClassifier;
        PyTorch's BCEWithLogitsLoss takes their mean, which is 1/L of it, gradient and all.

    Raises:
        TypeError, ValueError, MixedBackendsError: an argument has another shape, dtype or device.

    Source: Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.90 and 4.91.
    """

    of_logits: ClassVar[str] = "sigmoid"

    def check(self, targets: Array, rows: int, width: int) -> None:
        if width == 1 and targets.ndim == 2 and targets.shape[1] == 2:
            raise ValueError(
                f"labels have shape {targets.shape}; expected ({rows},), 0 or 1 for each row. For "
                "one-hot rows pass labels.argmax(axis=1)"
            )
        if width != 1 and targets.shape in ((rows,), (rows, 1)):
            raise ValueError(
                f"the network has {width} outputs a row; expected 1 for labels of shape "
                f"{targets.shape} and BinaryCrossEntropy(). Make the last layer Dense(..., 1), or "
                f"take SoftmaxCrossEntropy(); for several labels a row give ({rows}, {width})"
            )
        check_shape("labels", targets.shape, rows, width)
        if targets.dtype.kind not in _KINDS:
            raise TypeError(
                f"labels have dtype {targets.dtype}; expected 0 and 1. "
                f"{numbering(targets.dtype.kind)}"
            )
        check_numbers("labels", targets, _KINDS)
        for label in (float(targets.min()), float(targets.max())):
            if not 0 <= label <= 1:
                raise ValueError(
                    f"labels hold {label:g}; expected 0 and 1, or numbers between them. For more "
                    "classes take SoftmaxCrossEntropy()"
                )

    def __call__(
        self, output: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        output, targets, weights = arrays_of(output, targets, weights, called="labels")
        xp = backend_of(output, names=["output"]).xp
        check_output(output)
        y = aligned("labels", targets, output, _KINDS)
        factors = row_factors(weights, output)
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled losses are
            z = output.astype(compute_dtype(output), copy=False)
            e = xp.exp(-xp.abs(z))
            losses = (xp.maximum(z, 0) - z * y + xp.log1p(e)) * factors
            positive, total = z >= 0, 1 + e
            a, rest = xp.where(positive, 1, e) / total, xp.where(positive, e, 1) / total
            gradient = ((1 - y) * a - y * rest) * factors
        return losses.sum(dtype=np.float64), gradient.astype(output.dtype, copy=False)

    def record(self, recorder: Any, output: Array, targets: Array, weights: Array | None) -> Array:
        return recorder.loss_of_numbers(
            "binary_cross_entropy", output, targets, weights, out=recorder.empty(*output.shape)
        )

    def measure(self, output: Array, targets: Array) -> Array:
        output, targets, _ = arrays_of(output, targets, called="labels")
        right = (output > 0) == (targets.reshape(output.shape) > 0.5)
        return right.reshape(len(output), -1).all(axis=1).sum()

    def labels(self, targets: HostArray) -> HostArray | None:
        if targets.size != len(targets):  # several a row are no class
            return None
        labels = targets.reshape(-1).astype(np.int64)
        return labels if (labels == targets.reshape(-1)).all() else None
