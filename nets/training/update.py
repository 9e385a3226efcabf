"""One update, layer by layer: the reference for captured steps, done where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from ...kernels import global_norm
from ..losses.loss import Loss
from ..network.sequential import Sequential
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
    rows: int | None = None,
    scaler: LossScaler | None = None,
) -> tuple[Array, Array]:
    """Forward, loss, backward on one batch: (mean loss, sum of the metric), and the gradients.

    Both are 0-d, on the network's device. `samples`: m of the regularizers' formulas.

    Args:
        waits: look at the loss on a GPU, too, which is waited for then.
        rows: of the batch that go through the layers at a time, gradients being added up; None: all
            of them.
        scaler: scales the loss's gradient.

    Raises:
        NotFiniteError: the loss that is looked at is not finite.
    """
    looked_at = waits or net.backend.device == "cpu"
    rows = len(x) if rows is None else min(rows, len(x))
    mean: Array = None
    metric: Array = None
    total: Array = None  # of the gradients, where there are several parts
    whole = rows == len(x)
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        share = min(rows, len(x) - start) / len(x)
        output = net.forward(x[part], train=True)
        own = None if weights is None else weights[part]
        of_part, gradient, right = loss.with_metric(output, y[part], own)
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
    except FloatingPointError as error:  # clip_norm found gradients that are not finite
        norm = global_norm([net.parameters().flat_grads])
        raise NotFiniteError("gradients' norm", norm) from error
