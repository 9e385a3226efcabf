"""One update, layer by layer: the reference for captured steps, done where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from ...kernels import global_norm
from ..losses.loss import Loss
from ..network.sequential import Sequential
from ..optimizers.optimizer import Optimizer
from ..types import Array
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
    samples: int,
    x: Array,
    y: Array,
    weights: Array | None,
    waits: bool = False,
) -> tuple[Array, Array]:
    """Forward, loss, backward, step on one batch: (mean loss, sum of the metric) before the step.

    Both are 0-d, on the network's device. `samples`: m of the regularizers' formulas.

    Args:
        waits: look at the loss on a GPU, too, which is waited for then.

    Raises:
        NotFiniteError: the loss that is looked at is not finite, or `clip_norm` found gradients
            that are not.
    """
    output = net.forward(x, train=True)
    mean, gradient, metric = loss.with_metric(output, y, weights)
    for regularizer in regularizers:
        mean = mean + regularizer.penalty(net, samples)
    if (waits or net.backend.device == "cpu") and not isfinite(mean):
        raise NotFiniteError("loss", float(mean))
    net.backward(gradient, input_grad=False)
    for regularizer in regularizers:
        regularizer.add_gradient(net, samples)
    step(net, optimizer)
    return mean, metric


def step(net: Sequential, optimizer: Optimizer) -> None:
    """The optimizer's step with the network's own gradients."""
    try:
        optimizer.step()
    except FloatingPointError as error:  # clip_norm found gradients that are not finite
        norm = global_norm([net.parameters().flat_grads])
        raise NotFiniteError("gradients' norm", norm) from error
