"""The loss of regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..types import Array
from .mean_of_elements import MeanOfElements, elements


class MeanSquaredError(MeanOfElements):
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

    def __call__(
        self, output: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        output, z, y, factors = elements(output, targets, weights)
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled losses are
            difference = z - y
            weighted = difference * factors
            loss = (weighted * difference).sum(dtype=np.float64)
            gradient = 2 * weighted
        return loss, gradient.astype(output.dtype, copy=False)

    def record(self, recorder: Any, output: Array, targets: Array, weights: Array | None) -> Array:
        return recorder.loss_of_numbers(
            "squared_error", output, targets, weights, out=recorder.empty(*output.shape)
        )
