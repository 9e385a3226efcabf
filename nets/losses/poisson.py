"""The loss of counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import backend_of
from ..types import Array
from .mean_of_elements import MeanOfElements, elements
from .number_targets import arrays_of, compute_dtype


class Poisson(MeanOfElements):
    """Half the Poisson deviance of counts, for a network that gives logarithms of rates.

        p = exp(z)
        loss(z, y) = y log(y / p) - y + p           p where y = 0
        J = mean over rows of w_i (1/k) sum over j of loss(z_ij, y_ij)
        dJ/dz = w (p - y) / (n k)

    It is 0 where every rate is its target. Near there the loss is computed as y (exp(d) - 1 - d),
    d = z - log y, whose terms are as small as the loss is; further off as p - y - y d. Neither
    divides by a rate that may be 0. A rate beyond the dtype's largest number makes the loss inf,
    without a warning: `fit` says so.

    Called with outputs z, (n, k) or (n,): the network ends in a linear layer, without an
    exponential of its own. Targets y, counts or rates, have the same shape, integers or floating;
    (n,) goes with (n, 1) too; `fit` refuses negative ones. Weights w are (n,), or None for 1.
    float16 computes in float32. A rate that overflows makes the loss inf, or nan where its row
    weighs 0.

    The metric is "mae", the mean absolute error of the rates exp(z); smaller is better.

    Conventions: scikit-learn's loss="poisson" reports the same for one output a row, and the sum
        over several, where this is their mean. PyTorch's PoissonNLLLoss(log_input=True) is
        p - y z, without the terms that depend on y alone: its value is another, which may be
        negative, its gradient is the same.

    Raises:
        TypeError, ValueError, MixedBackendsError: an argument has another shape, dtype or device.

    Source: McCullagh and Nelder 1989, Generalized Linear Models, section 2.3.
    """

    def check(self, targets: Array, rows: int, width: int) -> None:
        super().check(targets, rows, width)
        if (least := float(targets.min())) < 0:
            raise ValueError(
                f"targets hold {least:g}; expected counts or rates, >= 0, for Poisson(). For "
                "numbers of both signs take MeanSquaredError() or Huber()"
            )

    def __call__(
        self, output: Array, targets: Array, weights: Array | None = None
    ) -> tuple[Array, Array]:
        output, z, y, factors = elements(output, targets, weights)
        xp = backend_of(output).xp
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled losses are
            counted, rates = y > 0, xp.exp(z)
            d = z - xp.log(xp.where(counted, y, 1))
            near = y * (xp.expm1(d) - d)
            far = rates - xp.where(counted, y + y * d, 0)
            losses = xp.where(counted & (xp.abs(d) < 1), near, far)
            loss = (losses * factors).sum(dtype=np.float64)
            gradient = (rates - y) * factors
        return loss, gradient.astype(output.dtype, copy=False)

    def record(self, recorder: Any, output: Array, targets: Array, weights: Array | None) -> Array:
        return recorder.loss_of_numbers(
            "poisson", output, targets, weights, out=recorder.empty(*output.shape)
        )

    def measure(self, output: Array, targets: Array) -> Array:
        output, targets, _ = arrays_of(output, targets)
        xp = backend_of(output).xp
        with np.errstate(all="ignore"):
            rates = xp.exp(output.astype(compute_dtype(output), copy=False))
            return super().measure(rates, targets)
