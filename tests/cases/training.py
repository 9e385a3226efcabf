"""Small data and networks that training is tested on."""

from __future__ import annotations

import numpy as np
from onepass.nets import (
    SGD,
    BinaryCrossEntropy,
    Dense,
    Huber,
    MeanSquaredError,
    Poisson,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    fit,
)

KINDS = {
    "classes": SoftmaxCrossEntropy(),
    "smoothed": SoftmaxCrossEntropy(label_smoothing=0.1),
    "two": BinaryCrossEntropy(),
    "labels": BinaryCrossEntropy(),
    "numbers": MeanSquaredError(),
    "outliers": Huber(0.5),
    "counts": Poisson(),
}
WIDTHS = {
    "classes": 3,
    "smoothed": 3,
    "two": 1,
    "labels": 2,
    "numbers": 2,
    "outliers": 2,
    "counts": 2,
}
OF_CLASSES = ("classes", "smoothed", "two")


def targets_of(kind, z):
    """What a network whose outputs are `z` would be right about."""
    if kind in ("classes", "smoothed"):
        return z.argmax(axis=1)
    if kind == "two":
        return (z[:, 0] > 0).astype(int)
    if kind == "labels":
        return (z > 0).astype(int)
    return np.rint(np.exp(np.minimum(z, 1))) if kind == "counts" else z


def data(kind="classes", n=60, seed=0):
    """Points in the plane, and their classes, whether they are on the right, or two numbers."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2)).astype("float32")
    if kind in ("classes", "smoothed"):
        return x, (x[:, 0] > 0) + (x[:, 1] > 0).astype(int)
    if kind == "two":
        return x, (x[:, 0] + x[:, 1] > 0).astype(int)
    return x, targets_of(kind, np.stack([x[:, 0] - x[:, 1], 1 + x[:, 0]], axis=1))


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
