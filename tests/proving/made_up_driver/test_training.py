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

CEILING = {"launches": 16, "copies": 0, "fills": 0, "waits": 0, "allocations": 0}
"""Of one training step, layer by layer: rows and labels 2, products 8, batch norms 4, loss 1,
optimizer 1. A change that takes fewer lowers it, and none may take more."""


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
    for steps in (11, 10, 11):  # what is compiled, and the pool's memory
        cost(steps)
    ten, eleven = cost(10), cost(11)
    step = {name: eleven[name] - ten[name] for name in CEILING}
    assert step == CEILING, "lower the ceiling, if this is less"
