"""Every layer once, and how its gradients are held to two-sided differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onepass.nets import (
    ELU,
    GELU,
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
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)

LAYERS: dict[str, Callable[[], Layer]] = {
    "dense": lambda: Dense(4, 3),
    "dense-without-bias": lambda: Dense(4, 3, bias=False),
    "dense-relu": lambda: Dense(4, 3, activation="relu"),
    "dense-leaky-relu": lambda: Dense(4, 3, activation="leaky_relu", slope=0.2),
    "dense-sigmoid": lambda: Dense(4, 3, activation="sigmoid"),
    "dense-tanh-without-bias": lambda: Dense(4, 3, bias=False, activation="tanh"),
    "dense-elu": lambda: Dense(4, 3, activation="elu", alpha=0.7),
    "dense-gelu": lambda: Dense(4, 3, activation="gelu"),
    "dense-softplus-without-bias": lambda: Dense(
        4, 3, bias=False, activation="softplus", beta=2.0, threshold=3.0
    ),
    "batch-norm": lambda: BatchNorm(4),
    "batch-norm-relu": lambda: BatchNorm(4, activation="relu"),
    "dropout": lambda: Dropout(0.6),
    "group-norm": lambda: GroupNorm(2, 4),
    "layer-norm": lambda: LayerNorm(4),
    "layer-norm-gelu": lambda: LayerNorm(4, activation="gelu"),
    "rms-norm": lambda: RMSNorm(4),
    "relu": ReLU,
    "elu": lambda: ELU(0.7),
    "gelu": GELU,
    "gelu-tanh": lambda: GELU("tanh"),
    "leaky-relu": lambda: LeakyReLU(0.2),
    "linear": Linear,
    "sigmoid": Sigmoid,
    "silu": SiLU,
    "softmax": Softmax,
    "softplus": lambda: Softplus(2.0, 3.0),
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
