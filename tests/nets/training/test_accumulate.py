"""Gradients of several batches in one update: what a larger batch would have done."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from onepass.nets import (
    L2,
    SGD,
    Adam,
    BatchNorm,
    Callback,
    Dense,
    InverseSqrtDecay,
    MeanSquaredError,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    fit,
)

RNG = np.random.default_rng(0)
X, Y, TARGETS = RNG.normal(size=(45, 6)), RNG.integers(0, 3, 45), RNG.normal(size=(45, 3))


def network(device="cpu", dtype="float64"):
    return Sequential(Dense(6, 8), Tanh(), Dense(8, 3), seed=1, dtype=dtype, device=device)


def louder(rows, rng):
    rows += rng.normal()
    return rows


OPTIONS = {
    "plain": {},
    "clipped Adam": {"optimizer": lambda p: Adam(p, lr=0.01, clip_norm=0.05)},
    "weighted": {"class_weight": {0: 1.0, 1: 5.0, 2: 0.5}},
    "penalty": {"regularizer": L2(0.3)},
    "a schedule": {"schedule": InverseSqrtDecay(0.2, per="step")},
    "augmented": {"augment": louder},
    "validated": {"validation": (X[:7], Y[:7])},
}


@pytest.mark.parametrize("sizes", [(4, 3), (4, 4), (45, 2), (7, 100), (1, 6)])
@pytest.mark.parametrize("case", OPTIONS)
def test_it_is_the_larger_batch(reference, case, sizes):
    size, times = sizes
    options = {"optimizer": lambda p: SGD(p, lr=0.1), "loss": SoftmaxCrossEntropy()}
    options |= OPTIONS[case]
    make = options.pop("optimizer")
    found = []
    for batch in ({"batch_size": size, "accumulate": times}, {"batch_size": size * times}):
        net = network(reference.device)
        optimizer = make(net.parameters())
        history = fit(
            net, (X, Y), optimizer=optimizer, epochs=3, progress=False, seed=2, **batch, **options
        )
        found.append((net.backend.to_numpy(net.parameters().flat), history, optimizer.steps))
    (parts, seen, steps), (whole, wanted, larger) = found
    assert steps == larger == 3 * -(-45 // (size * times))
    np.testing.assert_allclose(parts, whole, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(seen.loss, wanted.loss, rtol=1e-12)
    assert seen.metric == wanted.metric
    assert seen.lr == wanted.lr
    assert seen.path == f"accumulate={times} adds up gradients of batches"


def test_numbers_are_added_up_too():
    found = []
    for batch in ({"batch_size": 5, "accumulate": 3}, {"batch_size": 15}):
        net = network()
        options = {"loss": MeanSquaredError(), "optimizer": SGD(net.parameters(), lr=0.1)}
        fit(net, (X, TARGETS), epochs=2, progress=False, **batch, **options)
        found.append(net.parameters().flat)
    np.testing.assert_allclose(*found, rtol=1e-11, atol=1e-14)


def test_a_batch_norm_sees_one_batch_at_a_time():
    """Its gradients are the mean of those of the batches, each normalized by itself."""
    net = Sequential(Dense(6, 8), BatchNorm(8), Dense(8, 3), seed=1, dtype="float64", device="cpu")
    twin, loss = copy.deepcopy(net), SoftmaxCrossEntropy()
    before = net.parameters().flat.copy()
    optimizer = SGD(net.parameters(), lr=1.0)
    fit(net, (X, Y), loss=loss, optimizer=optimizer, epochs=1, batch_size=15, accumulate=3,
        progress=False, seed=4)  # fmt: skip
    order = np.random.default_rng(4).permutation(45)
    total = 0.0
    for part in np.split(order, 3):
        _, gradient = loss(twin.forward(X[part], train=True), Y[part])
        twin.backward(gradient)
        total = total + twin.parameters().flat_grads / 3
    np.testing.assert_allclose(before - net.parameters().flat, total, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(net.buffers()["1.running_mean"], twin.buffers()["1.running_mean"])


def test_callbacks_are_told_of_updates():
    class Told(Callback):
        seen = 0

        def on_batch(self, run):
            self.seen += 1
            assert run.step == self.seen

    net, told = network(), Told()
    fit(net, (X, Y), loss=SoftmaxCrossEntropy(), optimizer=SGD(net.parameters()), epochs=2,
        batch_size=4, accumulate=5, progress=False, callbacks=told)  # fmt: skip
    assert told.seen == 6


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.5, TypeError), (None, TypeError)])
def test_what_is_no_count_is_refused(value, error):
    net = network()
    before = net.parameters().flat.copy()
    with pytest.raises(error, match=r"^accumulate is "):
        fit(net, (X, Y), loss=SoftmaxCrossEntropy(), optimizer=SGD(net.parameters()),
            accumulate=value, progress=False)  # fmt: skip
    assert (net.parameters().flat == before).all()


def test_a_loss_that_is_not_finite_is_told():
    net = network()
    net.parameters()["2.weight"][...] = 1e308
    before = net.parameters().flat.copy()
    with pytest.raises(FloatingPointError, match=r"the loss is .* in epoch 1"):
        fit(net, (X, Y), loss=SoftmaxCrossEntropy(), optimizer=SGD(net.parameters()),
            batch_size=5, accumulate=2, progress=False)  # fmt: skip
    assert (net.parameters().flat == before).all()


def test_a_penalty_that_is_not_finite_is_told_before_an_update():
    net = network()
    net.parameters()["0.weight"][...] = 1e200
    before = net.parameters().flat.copy()
    with pytest.raises(FloatingPointError, match=r"the loss is inf in epoch 1"):
        fit(net, (X, Y), loss=SoftmaxCrossEntropy(), optimizer=SGD(net.parameters()),
            batch_size=5, accumulate=2, regularizer=L2(0.3), progress=False)  # fmt: skip
    assert (net.parameters().flat == before).all()
