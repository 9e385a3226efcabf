"""Gradients held to two-sided differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...backend.checks.numbers import positive
from ..losses.loss import Loss
from ..network.sequential import Sequential
from ..training.given.inputs import check_batches, check_loss, prepared
from ..training.regularizers import Regularizer, Regularizers, regularizers_of
from ..types import Array, HostArray

# A ratio up to the first number is right, ...
_VERDICTS = ((1e-7, "right"), (1e-5, "probably right"), (1e-3, "look again"))


@dataclass(frozen=True)
class GradientCheck:
    """What a gradient check found.

    Attributes:
        ratio: ||approx - grad|| / (||approx|| + ||grad||), over all parameters together.
        worst: name of the parameter with the largest ||approx - grad||.
        verdict: "right" (ratio below 1e-7), "probably right" (up to 1e-5), "look again" (up to
            1e-3) or "wrong".
    """

    ratio: float
    worst: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.verdict}: ratio {self.ratio:.2e}, most of it in {self.worst!r}"


def gradient_check(
    net: Sequential,
    x: Array,
    y: Array,
    loss: Loss,
    regularizer: Regularizers = None,
    epsilon: float = 1e-6,
) -> GradientCheck:
    """Compare the gradient of J, in every parameter, to two-sided differences.

        approx_i = (J(theta + e_i epsilon) - J(theta - e_i epsilon)) / (2 epsilon)
        ratio = ||approx - grad|| / (||approx|| + ||grad||)

    theta holds all parameters one after another. J is the loss of the whole batch in training (so
    batch normalization uses the batch's own statistics), with the regularizer's penalty. Layers
    that draw random numbers, such as Dropout, are left out. Two passes a parameter: take a small
    network.

    Args:
        net: in float64. Parameters and running statistics are afterwards what they were, to the
            bit; its gradients are those of J.
        x, y: a batch, as `fit` takes its data.
        loss: such as SoftmaxCrossEntropy().
        regularizer: such as L2(0.1), or several; m is the number of rows of `x`.
        epsilon: the step, > 0.

    Raises:
        TypeError: `net` is not float64, or an argument is something else.
        ValueError: there are no parameters, or the batch is not what `fit` takes.

    Conventions: an element near which J has a kink (a ReLU's input that changes sign within
        epsilon) can make a right gradient "look again": other data, or another seed, tells.
    """
    check_loss(net, loss)
    epsilon = positive("epsilon", epsilon)
    regularizers = regularizers_of(regularizer)
    if net.dtype != np.float64:
        raise TypeError(
            f"net is {net.dtype}; expected float64, in which differences of 1e-6 can be told: "
            "Sequential(..., dtype='float64')"
        )
    if not len(net.parameters()):
        raise ValueError(f"net is {net!r}, without parameters; expected a layer such as Dense")
    x, y = prepared(net, (x, y), loss, "data")
    check_batches(net, len(x), len(x))
    kept = net.state_dict()
    net.forward(x)  # binds the layers to where the network is now
    try:
        with net.backend.scope(), np.errstate(under="ignore"):
            grad = _gradient(net, x, y, loss, regularizers)
            approx = _differences(net, x, y, loss, regularizers, epsilon)
    finally:
        net.load_state_dict(kept)
    with np.errstate(under="ignore"):
        return _verdict(net, approx, grad)


def _gradient(
    net: Sequential, x: Array, y: Array, loss: Loss, regularizers: tuple[Regularizer, ...]
) -> HostArray:
    """The gradient by backward, (total,)."""
    layers = [layer for layer in net.layers if not layer.stochastic]
    for layer in layers:
        x = layer.forward(x, True)
    dy = loss(x, y)[1]
    for layer in reversed(layers):
        dy = layer.backward(dy)
    for regularizer in regularizers:
        regularizer.add_gradient(net, len(y))
    return net.backend.to_numpy(net.parameters().flat_grads).copy()


def _cost(
    net: Sequential, x: Array, y: Array, loss: Loss, regularizers: tuple[Regularizer, ...]
) -> float:
    """J at the present parameters."""
    for layer in net.layers:
        if not layer.stochastic:
            x = layer.forward(x, True)
    return float(loss(x, y)[0]) + sum(float(each.penalty(net, len(y))) for each in regularizers)


def _differences(
    net: Sequential,
    x: Array,
    y: Array,
    loss: Loss,
    regularizers: tuple[Regularizer, ...],
    epsilon: float,
) -> HostArray:
    """The gradient by two-sided differences, (total,)."""
    theta = net.parameters().flat
    approx = np.empty(theta.size)
    for k in range(theta.size):
        here = float(theta[k])
        theta[k] = here + epsilon
        above = _cost(net, x, y, loss, regularizers)
        theta[k] = here - epsilon
        below = _cost(net, x, y, loss, regularizers)
        theta[k] = here
        approx[k] = (above - below) / (2 * epsilon)
    return approx


def _verdict(net: Sequential, approx: HostArray, grad: HostArray) -> GradientCheck:
    apart = {
        name: float(np.linalg.norm(difference))
        for name, difference in net.parameters().split(approx - grad).items()
    }
    worst = max(apart, key=lambda name: np.inf if np.isnan(apart[name]) else apart[name])
    size = float(np.linalg.norm(approx) + np.linalg.norm(grad))
    ratio = float(np.linalg.norm(approx - grad)) / size if size else 0.0
    verdict = next((word for limit, word in _VERDICTS if ratio <= limit), "wrong")
    return GradientCheck(ratio, worst, verdict)
