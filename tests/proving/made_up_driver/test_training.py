"""Whole training runs of real CuPy on the made-up driver: what they give, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from onepass.nets import (
    Adam,
    BatchNorm,
    Dense,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
)

from proving.made_up_driver import counting
from proving.made_up_driver.training import OPTIMIZERS, blobs, trained, uncaptured

pytestmark = pytest.mark.gpu

OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: Momentum(p, lr=0.05, nesterov=True, clip_norm=0.7),
    "adagrad": lambda p: AdaGrad(p, lr=0.05),
    "rmsprop": lambda p: RMSprop(p, lr=0.005),
    "adam": lambda p: Adam(p, lr=0.01, clip_norm=0.5),
    "adamw": lambda p: AdamW(p, lr=0.01),
    "amsgrad": lambda p: AMSGrad(p, lr=0.01),
}
CEILING = {"launches": 29, "copies": 0, "fills": 0, "waits": 0, "allocations": 0}
"""Of one training step: a change that takes fewer lowers them, and none may take more. CUB, which
sums up on a real GPU, takes two launches for one of CuPy's own."""


def blobs(samples, width, classes=10):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples)
    centres = rng.standard_normal((classes, width))
    return (centres[labels] + rng.standard_normal((samples, width))).astype("float32"), labels


def trained(device, name, dtype):
    """The history of a run, and all parameters after it."""
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
        epochs=3,
        batch_size=16,
        schedule=ExponentialDecay(0.01, 0.9),
        regularizer=L2(0.05),
        class_weight="balanced",
        progress=False,
        seed=5,
    )
    figures = np.array([history.loss, history.val_loss])
    return figures, net.state_dict()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 5e-6)])
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True, ids="-".join)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_on_a_gpu_is_training_on_the_cpu(reference, name, dtype, tolerance):
    figures, state = trained("cpu", name, dtype)
    found, there = trained(reference.device, name, dtype)
    np.testing.assert_allclose(found, figures, rtol=tolerance, atol=0)
    for key, value in state.items():
        np.testing.assert_allclose(there[key], value, rtol=tolerance, atol=tolerance, err_msg=key)


def test_a_training_step_asks_the_driver_for_no_more_than_it_did(made_up_gpu, monkeypatch):
    def cost(steps):
        """What a run of one epoch asks the driver for."""
        layers = [Dense(784, 256, bias=False), BatchNorm(256, activation="relu")]
        layers += [Dense(256, 128, bias=False), BatchNorm(128, activation="relu"), Dense(128, 10)]
        net = Sequential(*layers, seed=0, device="cuda")
        adam, loss = Adam(net.parameters()), SoftmaxCrossEntropy()
        data = blobs(128 * steps, 784)
        counting.reset()
        fit(net, data, loss=loss, optimizer=adam, epochs=1, batch_size=128, progress=False)
        return counting.counts()

    uncaptured(monkeypatch)
    cost(11)  # what is compiled, and the pool's memory
    ten, eleven = cost(10), cost(11)
    step = {name: eleven[name] - ten[name] for name in CEILING}
    assert step == CEILING, "lower the ceiling, if this is less"
