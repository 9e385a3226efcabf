"""Every layer once, and how its gradients are held to two-sided differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onepass.nets import (
    BatchNorm,
    Dense,
    Dropout,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    ReLU,
    RMSNorm,
    Sigmoid,
    Softmax,
    Tanh,
)

LAYERS: dict[str, Callable[[], Layer]] = {
    "dense": lambda: Dense(4, 3),
    "dense-without-bias": lambda: Dense(4, 3, bias=False),
    "dense-relu": lambda: Dense(4, 3, activation="relu"),
    "dense-leaky-relu": lambda: Dense(4, 3, activation="leaky_relu", slope=0.2),
    "dense-sigmoid": lambda: Dense(4, 3, activation="sigmoid"),
    "dense-tanh-without-bias": lambda: Dense(4, 3, bias=False, activation="tanh"),
    "batch-norm": lambda: BatchNorm(4),
    "batch-norm-relu": lambda: BatchNorm(4, activation="relu"),
    "dropout": lambda: Dropout(0.6),
    "group-norm": lambda: GroupNorm(2, 4),
    "layer-norm": lambda: LayerNorm(4),
    "layer-norm-gelu": lambda: LayerNorm(4, activation="gelu"),
    "rms-norm": lambda: RMSNorm(4),
    "relu": ReLU,
    "leaky-relu": lambda: LeakyReLU(0.2),
    "linear": Linear,
    "sigmoid": Sigmoid,
    "softmax": Softmax,
    "tanh": Tanh,
}


def gradient_ratio(function, theta, gradient, eps=1e-6):
    """||approx - gradient|| / (||approx|| + ||gradient||) over every element of `theta`."""
    approx = np.empty(theta.size)
    flat = theta.reshape(-1)
    for k in range(theta.size):
        kept = flat[k]
        flat[k] = kept + eps
        above = function()
        flat[k] = kept - eps
        below = function()
        flat[k] = kept
        approx[k] = (above - below) / (2 * eps)
    gradient = gradient.reshape(-1)
    size = np.linalg.norm(approx) + np.linalg.norm(gradient)
    assert size > 1e-3, "a gradient of zero would prove nothing"
    return np.linalg.norm(approx - gradient) / size
