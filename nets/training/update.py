"""One update, layer by layer: the reference for captured steps, done where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite

from ..losses.loss import Loss
from ..network.sequential import Sequential
from ..optimizers.frame.clipping import NormError
from ..optimizers.frame.optimizer import Optimizer
from ..types import Array
from .loss_scaler import LossScaler
from .regularizers import Regularizer


class NotFiniteError(FloatingPointError):
    """A figure is not finite, and nothing was updated.

    Attributes:
        what: name of the figure, such as "loss".
        value: what it is.
    """

    def __init__(self, what: str, value: float) -> None:
        super().__init__(f"the {what} is {value}")
        self.what, self.value = what, value


def update(
    net: Sequential,
    loss: Loss,
    optimizer: Optimizer,
    regularizers: Sequence[Regularizer],
    samples: float,
    x: Array,
    y: Array,
    weights: Array | None,
    waits: bool = False,
    rows: int | None = None,
    scaler: LossScaler | None = None,
) -> tuple[Array, Array]:
    """Forward, loss, backward, step on one batch: (mean loss, sum of the metric) before the step.

    See `gradients`, which comes before the step.

    Args:
        scaler: leaves the step out where a gradient is not finite.

    Raises:
        NotFiniteError: the loss that is looked at is not finite, or `clip_norm` found gradients
            that are not.
    """
    found = gradients(net, loss, regularizers, samples, x, y, weights, waits, rows, scaler)
    if scaler is None:
        step(net, optimizer)
    else:
        scaler.step(optimizer)
    return found


def gradients(
    net: Sequential,
    loss: Loss,
    regularizers: Sequence[Regularizer],
    samples: float,
    x: Array,
    y: Array,
    weights: Array | None,
    waits: bool = False,
    rows: int | Sequence[int] | None = None,
    scaler: LossScaler | None = None,
    looks: bool = True,
) -> tuple[Array, Array]:
    """Forward, loss, backward on one batch: (mean loss, sum of the metric), and the gradients.

    Both are 0-d, on the network's device. `samples`: m of the regularizers' formulas.

    Args:
        waits: look at the loss on a GPU, too, which is waited for then.
        rows: of the batch that go through the layers at a time, gradients being added up; None: all
            of them. Or where such parts begin and end: one without rows goes through the layers
            too, where other ranks may wait for it.
        scaler: scales the loss's gradient.
        looks: whether a loss is looked at, at all.

    Raises:
        NotFiniteError: the loss that is looked at is not finite.
    """
    looked_at = looks and (waits or net.backend.device == "cpu")
    bounds = _bounds(len(x), rows)
    mean: Array = None
    metric: Array = None
    total: Array = None  # of the gradients, where there are several parts
    whole = len(bounds) == 2
    for start, end in pairwise(bounds):
        part = slice(start, end)
        output = net.forward(x[part], train=True)
        own = None if weights is None else weights[part]
        if start < end:
            share = (end - start) / len(x)
            of_part, gradient, right = loss.with_metric(output, y[part], own)
        else:
            share, of_part, gradient, right = 0.0, 0.0, output, 0.0
        if whole:
            for regularizer in regularizers:
                of_part = of_part + regularizer.penalty(net, samples)
        if looked_at and not isfinite(of_part):
            raise NotFiniteError("loss", float(of_part))
        gradient = scaler.scaled(gradient) if scaler else gradient
        if not whole:
            of_part, gradient = share * of_part, gradient * gradient.dtype.type(share)
        net.backward(gradient, input_grad=False)
        mean = of_part if mean is None else mean + of_part
        metric = right if metric is None else metric + right
        if not whole:
            flat = net.parameters().flat_grads
            if total is None:
                total = flat.copy()
            else:
                total += flat
    if not whole:
        net.parameters().flat_grads[...] = total
        for regularizer in regularizers:
            mean = mean + regularizer.penalty(net, samples)
        if regularizers and looked_at and not isfinite(mean):
            raise NotFiniteError("loss", float(mean))
    for regularizer in regularizers:
        regularizer.add_gradient(net, samples)
    return mean, metric


def step(net: Sequential, optimizer: Optimizer) -> None:
    """The optimizer's step with the network's own gradients."""
    try:
        optimizer.step()
    except NormError as error:
        raise NotFiniteError("gradients' norm", error.norm) from error


def _bounds(samples: int, rows: int | Sequence[int] | None) -> Sequence[int]:
    """Where the parts of a batch begin and end."""
    if rows is None or isinstance(rows, int):
        return (*range(0, samples, rows or samples), samples)
    return rows
