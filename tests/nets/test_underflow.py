"""What is too small for a dtype is 0, also for users who let NumPy raise: numpy.seterr("raise")."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels
from onepass.nets import (
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    Ensemble,
    MeanSquaredError,
    Normalizer,
    Sequential,
    Softmax,
    SoftmaxCrossEntropy,
    exponential_average,
    fit,
    gradient_check,
    outputs,
    predict,
    predict_proba,
    rotate,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 4))
WIDE = X * [1e-38, 1e-20, 1.0, 1e3]
"""Features on scales whose products with weights leave the range of float32."""
LABELS = np.digitize(X[:, 2], [-0.5, 0.5])
TINY = {"float16": 1e-7, "float32": 1e-44, "float64": 1e-323}


@pytest.fixture(autouse=True)
def _as_the_user_has_set_it():
    with np.errstate(all="raise"):
        yield


def trained(*layers, loss, y, dtype="float32", epochs=2):
    net = Sequential(*layers, dtype=dtype, device="cpu")
    with np.errstate(over="ignore", under="ignore"):
        x = WIDE.astype(dtype)
    pair = x, y
    optimizer = Adam(net.parameters())
    return fit(
        net,
        pair,
        loss=loss,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=16,
        validation=pair,
        progress=False,
    )


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("activation", [None, "relu", "sigmoid", "tanh"])
def test_training(activation, dtype):
    layers = Dense(4, 8, activation=activation), Dense(8, 3)
    history = trained(*layers, loss=SoftmaxCrossEntropy(), y=LABELS, dtype=dtype)
    assert np.isfinite(history.loss).all()


def test_training_with_the_other_layers():
    layers = Dense(4, 8, bias=False), BatchNorm(8, activation="relu"), Dropout(0.5), Dense(8, 3)
    assert np.isfinite(trained(*layers, loss=SoftmaxCrossEntropy(), y=LABELS).loss).all()
    onehot = np.eye(3, dtype="float32")[LABELS]
    assert np.isfinite(
        trained(Dense(4, 3), Softmax(), loss=MeanSquaredError(), y=onehot).loss
    ).all()


def test_a_softmax_by_itself():
    net = Sequential(Dense(4, 3), Softmax(), device="cpu")
    softmax = net.layers[1]
    y = softmax.forward(np.array([[0, -90, -200]], "float32"), train=True)
    assert softmax.backward(y)[0, 2] == 0


@pytest.mark.parametrize("function", [outputs, predict, predict_proba])
def test_rows_in_float64_for_a_network_in_float32(function):
    net = Sequential(Dense(4, 3), device="cpu")
    rows = np.full((2, 4), 1e-300)
    np.testing.assert_array_equal(function(net, rows), function(net, np.zeros((2, 4))))


def test_probabilities_of_logits_far_apart():
    net = Sequential(Dense(4, 3), device="cpu")
    far = X * 1e5
    for p in (predict_proba(net, far), Ensemble([net, net]).predict_proba(far)):
        np.testing.assert_array_equal(np.unique(p), [0, 1])


def test_normalizing():
    x = np.array([[1e-200, 1.0], [3e-200, 2.0]])
    normalizer = Normalizer().fit(x)
    np.testing.assert_array_equal(normalizer.apply(x)[:, 1], [-1, 1])
    tiny = np.full((1, 2), 5e-324)
    assert normalizer.apply(tiny)[0, 1] == -3
    assert normalizer.inverse(tiny)[0, 1] == 1.5


def test_images_and_averages():
    dark = np.full((2, 5, 5), TINY["float32"], "float32")
    assert abs(rotate(dark, 10.0)).max() <= TINY["float32"]
    assert exponential_average(np.full((3, 1), 5e-324)).max() <= 5e-323


def test_checking_gradients():
    net = Sequential(Dense(4, 3, activation="sigmoid"), Dense(3, 3), dtype="float64", device="cpu")
    assert gradient_check(net, X * [1e-300, 1, 1, 1], LABELS, SoftmaxCrossEntropy()).verdict


@pytest.mark.parametrize("engine", ["array", "numba"])
def test_batch_norm_in_float16(engine):
    x = RNG.standard_normal((16, 3)).astype("float16")
    x[:, 0] = 0
    gamma, beta = np.ones(3, "float16"), np.zeros(3, "float16")
    running = np.zeros(3, "float16"), np.ones(3, "float16")
    y, saved = kernels.batch_norm_forward(x, gamma, beta, *running, momentum=1e-7, engine=engine)
    dy = np.full_like(x, TINY["float16"])
    dx, dgamma, _ = kernels.batch_norm_backward(dy, saved, engine=engine)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    assert np.isfinite(dgamma).all()


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_estimators(dtype):
    pytest.importorskip("sklearn", reason="the estimators stand on scikit-learn")
    from onepass.nets import NetClassifier, NetRegressor

    options = {
        "hidden_layer_sizes": 8,
        "max_iter": 2,
        "dtype": dtype,
        "random_state": 0,
        "device": "cpu",
    }
    p = NetClassifier(**options).fit(X, LABELS).predict_proba(X * 1e8)
    assert p.min() == 0
    p = NetClassifier(**options).fit(X, LABELS > 0).predict_proba(X * 1e8)
    assert p.min() == 0
    numbers = NetRegressor(**options).fit(X, X[:, 0] * 1e-200)
    assert np.isfinite(numbers.predict(X)).all()
