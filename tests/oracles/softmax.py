"""Softmax cross-entropy in extended precision, row by row, independent of onepass.

Bishop (2006), eq. 4.104 for the probabilities, 4.108 for the loss, 4.109 for its gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Result(NamedTuple):
    loss: float
    gradient: NDArray[np.float64]
    p: NDArray[np.float64]
    distance: NDArray[np.float64]  # |z - max z|, whose rounding every method pays for


def softmax_cross_entropy(
    logits: Any, labels: Any, weights: Any = None, smoothing: float = 0.0
) -> Result:
    """Sum over rows of -w (t . log p) / n, and w (p - t) / n, for t = (1 - s) onehot(k) + s / C."""
    z = np.array(logits, dtype=np.longdouble)
    rows = len(z)
    p, gradient, distance = np.empty_like(z), np.empty_like(z), np.empty_like(z)
    factors = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.longdouble)
    losses = []
    with np.errstate(all="ignore"):
        for i, k in enumerate(labels.tolist()):
            below = z[i].max() - z[i]
            powers = np.exp(-below)
            p[i] = powers / powers.sum()
            onehot = np.zeros(z.shape[1], dtype=np.longdouble)
            onehot[k] = 1
            s = np.longdouble(smoothing)
            t = (1 - s) * onehot + s / z.shape[1]
            gradient[i] = factors[i] * (p[i] - t) / rows
            distance[i] = below
            aims = below[t > 0] * t[t > 0]
            losses.append(factors[i] * (np.log(powers.sum()) + aims.sum()))
        loss = float(np.sum(losses) / rows)
        return Result(loss, *(part.astype(np.float64) for part in (gradient, p, distance)))
