"""What losses of regression share: a mean over all elements, and the mean absolute error."""

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


class MeanOfElements(Loss):
    """A loss of outputs (n, k) or (n,) and of numbers of the same shape.

    J = mean over rows of w_i (1/k) sum over j of loss(output_ij, y_ij).
    """

    metric: ClassVar[str] = "mae"
    larger_is_better: ClassVar[bool] = False

    def check(self, targets: Array, rows: int, width: int) -> None:
        check_shape("targets", targets.shape, rows, width)
        check_numbers("targets", targets)

    def measure(self, output: Array, targets: Array) -> Array:
        output, targets, _ = arrays_of(output, targets)
        xp = backend_of(output).xp
        errors = xp.abs(output - targets.reshape(output.shape))
        return errors.sum(dtype=np.float64) / (output.size // len(output))


def elements(
    output: Array, targets: Array, weights: Array | None
) -> tuple[Array, Array, Array, Any]:
    """(output; it and the targets in what is computed in; weights / (n k)), checked.

    Raises:
        TypeError, ValueError, MixedBackendsError: an argument has another shape, dtype or device.
    """
    output, targets, weights = arrays_of(output, targets, weights)
    check_output(output)
    y = aligned("targets", targets, output)
    factors = row_factors(weights, output) / (output.size // len(output))
    return output, output.astype(compute_dtype(output), copy=False), y, factors
