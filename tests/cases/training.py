"""Small data and networks that training is tested on."""

from __future__ import annotations

import numpy as np
from onepass.nets import (
    SGD,
    BinaryCrossEntropy,
    Dense,
    MeanSquaredError,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    fit,
)

KINDS = {
    "classes": SoftmaxCrossEntropy(),
    "two": BinaryCrossEntropy(),
    "numbers": MeanSquaredError(),
}
WIDTHS = {"classes": 3, "two": 1, "numbers": 2}


def data(kind="classes", n=60, seed=0):
    """Points in the plane, and their classes, whether they are on the right, or two numbers."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2)).astype("float32")
    if kind == "classes":
        return x, (x[:, 0] > 0) + (x[:, 1] > 0).astype(int)
    if kind == "two":
        return x, (x[:, 0] + x[:, 1] > 0).astype(int)
    return x, np.stack([x[:, 0] - x[:, 1], 1 + x[:, 0]], axis=1)


def network(kind="classes", seed=0, dtype="float32", device="cpu"):
    layers = Dense(2, 8), Tanh(), Dense(8, WIDTHS[kind])
    return Sequential(*layers, seed=seed, dtype=dtype, device=device)


def train(net=None, pair=None, kind="classes", **options):
    """(net, history) after three epochs of SGD, or what `options` say."""
    net = net or network(kind)
    chosen = {"epochs": 3, "batch_size": 16, "progress": False, "loss": KINDS[kind], **options}
    if "optimizer" not in chosen:
        chosen["optimizer"] = SGD(net.parameters(), lr=0.1)
    return net, fit(net, data(kind) if pair is None else pair, **chosen)


def bits(net):
    """All parameters and running statistics, as bytes by name."""
    return {name: value.tobytes() for name, value in net.state_dict().items()}
