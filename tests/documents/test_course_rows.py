"""What the course says of whole networks: equalities that no single layer or rule shows."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels
from onepass.nets import (
    SGD,
    Adadelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    BatchNorm,
    BinaryCrossEntropy,
    Dense,
    Lion,
    Momentum,
    NAdam,
    Normalizer,
    RAdam,
    RMSprop,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    accuracy,
    fit,
    predict_proba,
)

OPTIMIZERS = [
    pytest.param(make, id=name)
    for name, make in {
        "sgd": SGD,
        "momentum-averaged": lambda p, lr: Momentum(p, lr=lr, form="averaged"),
        "momentum-heavy-ball": Momentum,
        "momentum-velocity": lambda p, lr: Momentum(p, lr=lr, form="velocity"),
        "nesterov": lambda p, lr: Momentum(p, lr=lr, nesterov=True),
        "adagrad": AdaGrad,
        "rmsprop": RMSprop,
        "adam": Adam,
        "adamw": AdamW,
        "amsgrad": AMSGrad,
        "nadam": NAdam,
        "radam": RAdam,
        "adamax": Adamax,
        "adadelta": lambda p, lr: Adadelta(p, lr=50 * lr),
        "lion": Lion,
    }.items()
]


def network(*layers, seed=1):
    return Sequential(*layers, seed=seed, dtype="float64", device="cpu")


def blobs(classes, n=120, features=5, seed=0):
    """Rows of a few classes that overlap a little."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return draw.standard_normal((classes, features))[y] * 1.5 + draw.standard_normal(
        (n, features)
    ), y


def train(net, data, loss, lr=0.1, epochs=5, batch_size=32, make=SGD, **options):
    return fit(
        net,
        data,
        loss=loss,
        optimizer=make(net.parameters(), lr=lr),
        epochs=epochs,
        batch_size=batch_size,
        progress=False,
        **options,
    )


# --- V3 -------------------------------------------------------------------------------------------
def test_a_mistake_in_a_shape_is_named_where_numpy_would_broadcast():
    """NumPy would take a column for a row's worth of numbers, and give a matrix."""
    x = np.ones((5, 3))
    assert (x + np.ones((5, 1))).shape == (5, 3)  # what none of these takes for a bias
    with pytest.raises(ValueError, match=r"bias has shape \(5,\) but x has \(5, 3\)"):
        kernels.activation_forward(x, "relu", bias=np.ones(5))
    with pytest.raises(ValueError, match=r"gamma has shape \(1,\); expected \(3,\)"):
        kernels.batch_norm_forward(x, np.ones(1), np.zeros(3))
    with pytest.raises(ValueError, match=r"grad has shape \(1, 3\) but param has \(5, 3\)"):
        kernels.sgd_step(x, np.ones((1, 3)), lr=0.1)
    with pytest.raises(ValueError, match=r"x has shape \(5, 1\); expected \(n, 3\)"):
        Normalizer().fit(x).apply(np.ones((5, 1)))
    with pytest.raises(ValueError, match=r"has shape \(3,\); expected \(n, 3\)"):
        network(Dense(3, 2))(np.ones(3))
    with pytest.raises(ValueError, match="labels"):
        BinaryCrossEntropy()(np.ones((5, 1)), np.ones((1, 5)))
    np.testing.assert_array_equal(x, 1, "a call that was refused has written")


# --- N4 -------------------------------------------------------------------------------------------
def test_softmax_of_two_classes_learns_what_logistic_regression_learns():
    """Of two logits only the difference counts, and it moves twice as fast as one logit."""
    x, y = blobs(2)
    softmax, logistic = network(Dense(5, 2)), network(Dense(5, 1))
    weights = softmax.parameters()["0.weight"]
    logistic.parameters()["0.weight"][:, 0] = weights[:, 1] - weights[:, 0]
    train(softmax, (x, y), SoftmaxCrossEntropy(), lr=0.1)
    train(logistic, (x, y), BinaryCrossEntropy(), lr=0.2)
    np.testing.assert_allclose(predict_proba(softmax, x), predict_proba(logistic, x), rtol=1e-10)
    assert accuracy(softmax, x, y) == accuracy(logistic, x, y) > 0.8


# --- N5 -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_units_that_start_equal_stay_equal(start):
    data, loss = blobs(3), SoftmaxCrossEntropy()
    net = network(Dense(5, 8, init="zeros"), Tanh(), Dense(8, 3, init="zeros"))
    for name, weight in net.parameters().items():
        weight[...] = start if name.endswith("weight") else 0.0
    train(net, data, loss, epochs=40)
    first, last = net.parameters()["0.weight"], net.parameters()["2.weight"]
    np.testing.assert_array_equal(first, first[:, :1].repeat(8, axis=1))
    np.testing.assert_array_equal(last, last[:1].repeat(8, axis=0))
    other = network(Dense(5, 8, init="xavier"), Tanh(), Dense(8, 3, init="xavier"))
    train(other, data, loss, epochs=40)
    assert np.ptp(other.parameters()["0.weight"], axis=1).min() > 0.1
    assert accuracy(other, *data) > accuracy(net, *data) + 0.1


# --- O1 -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("batch_size", "updates"), [(10, 1), (4, 3), (1, 10)])
def test_batch_stochastic_and_mini_batch_descent_are_the_updates_they_say(batch_size, updates):
    """One epoch by hand, in the order that `fit` shuffles: W -= lr x.T (p - y) / rows, in turn."""
    (x, y), lr = blobs(3, n=10), 0.3
    net = network(Dense(5, 3))
    weight, bias = (net.parameters()[name].copy() for name in ("0.weight", "0.bias"))
    order = np.random.default_rng(0).permutation(10)
    batches = [order[start : start + batch_size] for start in range(0, 10, batch_size)]
    assert len(batches) == updates
    for rows in batches:
        z = x[rows] @ weight + bias
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        dz = (p - np.eye(3)[y[rows]]) / len(rows)
        weight -= lr * x[rows].T @ dz
        bias -= lr * dz.sum(axis=0)
    optimizer = SGD(net.parameters(), lr=lr)
    options = {"epochs": 1, "batch_size": batch_size, "seed": 0, "progress": False}
    fit(net, (x, y), loss=SoftmaxCrossEntropy(), optimizer=optimizer, **options)
    assert optimizer.steps == updates
    np.testing.assert_allclose(net.parameters()["0.weight"], weight, rtol=1e-12)
    np.testing.assert_allclose(net.parameters()["0.bias"], bias, rtol=1e-12, atol=1e-14)


# --- O3 to O6 -------------------------------------------------------------------------------------
def walk(make, steps=12):
    """Positions on f(x) = x^2 / 2 from 1."""
    p = np.ones(1)
    optimizer, found = make([p]), []
    for _ in range(steps):
        optimizer.step([p.copy()])
        found.append(p[0])
    return np.array(found)


def test_forms_of_momentum_are_what_the_course_says():
    """One path: heavy-ball at lr, averaged at lr / (1 - b), velocity at lr; v told by hand."""
    lr, b, p, v, expected = 0.1, 0.9, 1.0, 0.0, []
    for _ in range(12):
        v = b * v + (1 - b) * p
        p -= lr / (1 - b) * v
        expected.append(p)
    np.testing.assert_allclose(
        walk(lambda p: Momentum(p, lr=lr / (1 - b), form="averaged")), expected, rtol=1e-12
    )
    np.testing.assert_allclose(walk(lambda p: Momentum(p, lr=lr)), expected, rtol=1e-12)
    np.testing.assert_allclose(
        walk(lambda p: Momentum(p, lr=lr, form="velocity")), expected, rtol=1e-12
    )


def test_nesterov_looks_ahead():
    """In the textbook's variables: the gradient is taken at x - lr b v, where p is."""
    lr, b, x, v, expected = 0.1, 0.9, 1.0, 0.0, []
    for _ in range(12):
        v = b * v + (x - lr * b * v)
        x -= lr * v
        expected.append(x - lr * b * v)
    found = walk(lambda p: Momentum(p, lr=lr, momentum=b, nesterov=True))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.abs(found).sum() < np.abs(walk(lambda p: Momentum(p, lr=lr))).sum()


# --- B3 -------------------------------------------------------------------------------------------
def test_a_bias_before_batch_norm_does_nothing():
    """The mean takes it out again: no output changes with it, and its gradient is zero."""
    x, y = blobs(3)
    outputs = []
    for bias in (0.0, 7.0):
        net = network(Dense(5, 8), BatchNorm(8, activation="relu"), Dense(8, 3))
        net.parameters()["0.bias"][...] = bias
        z = net.forward(x, train=True)
        net.backward(SoftmaxCrossEntropy()(z, y)[1])
        outputs.append(z)
        assert np.abs(net.parameters().grads["0.bias"]).max() < 1e-15
        assert np.abs(net.parameters().grads["0.weight"]).max() > 1e-3
    np.testing.assert_allclose(*outputs, rtol=1e-10)
    bare = network(Dense(5, 8, bias=False), BatchNorm(8, activation="relu"), Dense(8, 3))
    np.testing.assert_allclose(bare.forward(x, train=True), outputs[0], rtol=1e-10)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_gamma_and_beta_train_with_every_optimizer(make):
    data, loss = blobs(3), SoftmaxCrossEntropy()
    net = network(Dense(5, 8, bias=False), BatchNorm(8, activation="relu"), Dense(8, 3))
    history = train(net, data, loss, lr=0.02, epochs=20, make=make)
    assert history.loss[-1] < 0.8 * history.loss[0]
    assert np.abs(net.parameters()["1.gamma"] - 1).min() > 1e-6
    assert np.abs(net.parameters()["1.beta"]).min() > 1e-6
