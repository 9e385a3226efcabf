"""The loss of regression."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...backend import backend_of
from ..types import Array
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


class MeanSquaredError(Loss):
    """The mean over all elements of the squared difference.

        J = mean over rows of w_i (1/k) sum over j of (output_ij - y_ij)^2
        dJ/d(output) = 2 w (output - y) / (n k)

    Called with outputs (n, k) or (n,), and targets y of the same shape, integers or floating; (n,)
    goes with (n, 1) too. Weights w are (n,), or None for 1. float16 computes in float32.

    The metric is "mae", the mean absolute error over all elements; smaller is better.

    Conventions: PyTorch's MSELoss divides by n k too. Textbooks often write 1/(2n) times the sum of
        squares, which is k/2 times as large, gradient and all.

    Raises:
        TypeError, ValueError, MixedBackendsError: an argument has another shape, dtype or device.

    Source: Bishop 2006, Pattern Recognition and Machine Learning, eq. 1.2, as a mean.
    """

    metric: ClassVar[str] = "mae"
    larger_is_better: ClassVar[bool] = False

    def check(self, targets: Array, rows: int, width: int) -> None:
        check_shape("targets", targets.shape, rows, width)
        check_numbers("targets", targets)

    def __call__(
        self, output: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        output, targets, weights = arrays_of(output, targets, weights)
        check_output(output)
        y = aligned("targets", targets, output)
        factors = row_factors(weights, output) / (output.size // len(output))
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled losses are
            difference = output.astype(compute_dtype(output), copy=False) - y
            weighted = difference * factors
            loss = (weighted * difference).sum(dtype=np.float64)
            gradient = 2 * weighted
        return loss, gradient.astype(output.dtype, copy=False)

    def record(self, recorder: Any, output: Array, targets: Array, weights: Array | None) -> Array:
        return recorder.loss_of_numbers(
            "squared_error", output, targets, weights, out=recorder.empty(*output.shape)
        )

    def measure(self, output: Array, targets: Array) -> Array:
        output, targets, _ = arrays_of(output, targets)
        xp = backend_of(output).xp
        errors = xp.abs(output - targets.reshape(output.shape))
        return errors.sum(dtype=np.float64) / (output.size // len(output))
