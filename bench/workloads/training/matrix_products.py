"""The floor of training: an epoch's matrix products, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ...cases.trainer import HIDDEN
from ...measuring.candidate import Call


def epoch_products(samples: int, width: int, classes: int, batch: int) -> Call:
    """A call that multiplies what an epoch multiplies, into arrays made beforehand.

    Each batch: x W forward, and x.T dy and dy W.T backward, layer by layer; dy W.T of the first
    layer is left out, as training does. The last batch holds the rest of the samples.
    """
    draw = np.random.default_rng(0)
    widths = (width, *HIDDEN, classes)

    def made(*shape: int) -> np.ndarray:
        return draw.standard_normal(shape, dtype=np.float32)

    weights = [made(*shape) for shape in pairwise(widths)]
    gradients = [np.empty_like(weight) for weight in weights]
    values, errors = ([made(min(batch, samples), n) for n in widths] for _ in range(2))
    outputs, inputs = ([np.empty_like(value) for value in values] for _ in range(2))

    def products(rows: int) -> None:
        for k, weight in enumerate(weights):
            np.matmul(values[k][:rows], weight, out=outputs[k + 1][:rows])
        for k in reversed(range(len(weights))):
            error = errors[k + 1][:rows]
            np.matmul(values[k][:rows].T, error, out=gradients[k])
            if k:
                np.matmul(error, weights[k].T, out=inputs[k][:rows])

    whole, rest = divmod(samples, batch)

    def epoch() -> None:
        for _ in range(whole):
            products(batch)
        if rest:
            products(rest)

    return epoch
