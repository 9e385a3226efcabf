"""A training run with most of what there is, for both devices."""

from __future__ import annotations

import numpy as np
from onepass.nets import (
    L2,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    AMSGrad,
    BatchNorm,
    Dense,
    Dropout,
    ExponentialDecay,
    Momentum,
    NAdam,
    RAdam,
    ReLU,
    RMSprop,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
)
from onepass.nets.network.captured_forward import Uncapturable
from onepass.nets.training.captured import steps

OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: Momentum(p, lr=0.05, nesterov=True, clip_norm=0.7),
    "adagrad": lambda p: AdaGrad(p, lr=0.05),
    "rmsprop": lambda p: RMSprop(p, lr=0.005),
    "adam": lambda p: Adam(p, lr=0.01, clip_norm=0.5),
    "adamw": lambda p: AdamW(p, lr=0.01),
    "amsgrad": lambda p: AMSGrad(p, lr=0.01),
    "rmsprop-centered-momentum": lambda p: RMSprop(p, lr=0.001, momentum=0.9, centered=True),
    "radam": lambda p: RAdam(p, lr=0.01),
    "nadam": lambda p: NAdam(p, lr=0.01),
}


def blobs(samples, width, classes=10):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples)
    centres = rng.standard_normal((classes, width))
    return (centres[labels] + rng.standard_normal((samples, width))).astype("float32"), labels


def trained(device, name, dtype, **options):
    """The losses of a run, and all parameters after it; `options` are more of fit's."""
    # Batch norm takes a bias away again: its gradient is rounding errors, which Adam would magnify.
    layers = [Dense(12, 16, bias=False), BatchNorm(16), ReLU(), Dropout(0.8)]
    layers += [Dense(16, 8, bias=False), BatchNorm(8), ReLU(), Dense(8, 4)]
    net = Sequential(*layers, seed=3, dtype=dtype, device=device)
    x, y = blobs(90, 12, classes=4)
    history = fit(
        net,
        (x[:70], y[:70]),
        validation=(x[70:], y[70:]),
        loss=SoftmaxCrossEntropy(),
        optimizer=OPTIMIZERS[name](net.parameters()),
        epochs=options.pop("epochs", 3),
        batch_size=16,
        schedule=ExponentialDecay(0.01, 0.9),
        regularizer=L2(0.05),
        class_weight="balanced",
        progress=False,
        seed=5,
        **options,
    )
    figures = np.array([history.loss, history.val_loss])
    return figures, net.state_dict()


def uncaptured(monkeypatch):
    """Nothing is captured from now on."""

    def refuse(*given):
        raise Uncapturable("a test wants it layer by layer")

    monkeypatch.setattr(steps, "check", refuse)
