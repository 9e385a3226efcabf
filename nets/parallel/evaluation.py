"""A network measured by all ranks, each on a part of the data."""

from __future__ import annotations

from math import fsum

import numpy as np

from ..losses.loss import Loss
from ..network.prediction import evaluate
from ..types import Array
from .data_parallel import DataParallel
from .shards import batch_parts


def evaluate_together(
    ranks: DataParallel, x: Array, y: Array, loss: Loss, weights: Array | None = None
) -> tuple[float, float]:
    """(mean loss, mean metric) as `evaluate` gives them, the same on all ranks."""
    bounds = batch_parts(len(x), ranks.size)
    own = slice(bounds[ranks.rank], bounds[ranks.rank + 1])
    rows, sums = own.stop - own.start, np.zeros(2)
    with ranks.agreement.closed():
        if rows:
            factors = None if weights is None else weights[own]
            sums[:] = evaluate(ranks.net, x[own], y[own], loss, factors)
        found = ranks.communicator.gathered(rows * sums)
    with np.errstate(all="ignore"):
        mean, metric = (
            fsum(each) if np.isfinite(each).all() else float(each.sum()) for each in found.T
        )
    return mean / len(x), metric / len(x)
