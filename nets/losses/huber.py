"""The loss of regression on data with outliers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import backend_of
from ...backend.checks.numbers import positive
from ..types import Array
from .mean_of_elements import MeanOfElements, elements


class Huber(MeanOfElements):
    """The mean over all elements of a square near 0 that goes on as a straight line.

        d = output - y
        loss(d) = d^2 / 2                     where |d| <= delta
                  delta (|d| - delta / 2)     elsewhere
        J = mean over rows of w_i (1/k) sum over j of loss(d_ij)
        dJ/d(output) = w clip(d, -delta, delta) / (n k)

    No element pulls harder than one that is delta off, so that a few wild targets don't rule the
    fit. Both lines are one expression, c (d - c/2) for c = clip(d, -delta, delta), in which nothing
    overflows that the loss itself does not.

    Called with outputs (n, k) or (n,), and targets y of the same shape, integers or floating; (n,)
    goes with (n, 1) too. Weights w are (n,), or None for 1. float16 computes in float32.

    The metric is "mae", the mean absolute error over all elements; smaller is better.

    Args:
        delta: the error from which on the loss is linear, > 0, in units of the targets.

    Attributes:
        delta: as given; to change it take another loss.

    Conventions: PyTorch's HuberLoss is the same; its SmoothL1Loss(beta) is this divided by
        delta = beta. Within delta it is half of MeanSquaredError.

    Raises:
        TypeError, ValueError, MixedBackendsError: an argument has another shape, dtype or device,
            or `delta` is not positive.

    Source: Huber 1964, Robust Estimation of a Location Parameter (its k is delta).
    """

    def __init__(self, delta: float = 1.0) -> None:
        self._delta = positive("delta", delta)

    @property
    def delta(self) -> float:
        return self._delta

    def __call__(
        self, output: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        output, z, y, factors = elements(output, targets, weights)
        xp = backend_of(output).xp
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled losses are
            delta = z.dtype.type(self.delta)
            d = z - y
            c = xp.clip(d, -delta, delta)
            gradient = c * factors
            loss = (gradient * (d - c / 2)).sum(dtype=np.float64)
        return loss, gradient.astype(output.dtype, copy=False)

    def record(self, recorder: Any, output: Array, targets: Array, weights: Array | None) -> Array:
        out = recorder.empty(*output.shape)
        return recorder.loss_of_numbers(
            "huber", output, targets, weights, out=out, setting=self.delta
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(delta={self.delta})"
