"""Layers with activations: what Dense fuses, what it leaves alone, softmax, refusals."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from cases.activation import KINDS
from onepass.nets import (
    ELU,
    GELU,
    Adam,
    Dense,
    LeakyReLU,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    Tanh,
    fit,
    gradient_check,
)
from tolerances import GRADIENT_RATIO, assert_close

on_a_gpu = pytest.mark.parametrize(
    "reference",
    [pytest.param(("array", "cuda"), marks=pytest.mark.gpu)],
    indirect=True,
    ids="-".join,
)
LAYERS = {
    "linear": Linear,
    "relu": ReLU,
    "leaky_relu": lambda: LeakyReLU(0.2),
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "elu": lambda: ELU(0.7),
    "gelu": GELU,
    "gelu_tanh": lambda: GELU("tanh"),
    "silu": SiLU,
    "softplus": lambda: Softplus(2.0, 3.0),
}
SETTINGS = {"slope": 0.2, "alpha": 0.7, "beta": 2.0, "threshold": 3.0}


def networks(kind, bias=True, dtype="float32", device="cpu"):
    """Two networks of the same values: the activation as a layer, and in Dense."""
    options = {"seed": 3, "dtype": dtype, "device": device}
    apart = Sequential(Dense(6, 9, bias), LAYERS[kind](), Dense(9, 4), **options)
    fused = Sequential(Dense(6, 9, bias, activation=kind, **SETTINGS), Dense(9, 4), **options)
    rng = np.random.default_rng(4)
    apart.parameters().flat[...] = apart.backend.asarray(
        rng.standard_normal(apart.parameters().flat.size).astype(dtype)
    )
    fused.parameters().flat[...] = apart.parameters().flat
    x, dy = (rng.standard_normal((50, width)).astype(dtype) for width in (6, 4))
    return apart, fused, x, dy


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_dense_with_an_activation_is_dense_and_a_layer(reference, kind, bias, dtype):
    apart, fused, x, dy = networks(kind, bias, dtype, reference.device)
    results = []
    for net in (apart, fused):
        y = net.forward(x, train=True)
        dx = net.backward(net.backend.asarray(dy))
        results.append([net.backend.to_numpy(a) for a in (y, dx, net.parameters().flat_grads)])
        assert np.array_equal(net.backend.to_numpy(net(x)), results[-1][0])
    eps = float(np.finfo(dtype).eps)
    for one, other in zip(*results, strict=True):
        size = float(np.abs(one).max())  # sums, of which some cancels
        np.testing.assert_allclose(other, one, rtol=20 * eps, atol=20 * eps * size)


@on_a_gpu
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_dense_on_a_gpu_is_dense_on_the_cpu(reference, kind, bias, dtype):
    results = []
    for device in ("cpu", reference.device):
        _, net, x, dy = networks(kind, bias, dtype, device)
        y = net.forward(x, train=True)
        dx = net.backward(net.backend.asarray(dy))
        results.append([net.backend.to_numpy(a) for a in (y, dx, net.parameters().flat_grads)])
    eps = float(np.finfo(dtype).eps)
    for one, other in zip(*results, strict=True):
        size = float(np.abs(one).max())
        np.testing.assert_allclose(other, one, rtol=20 * eps, atol=20 * eps * size)


@on_a_gpu
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_dense_on_a_gpu(reference, kind, bias):
    _, net, x, _ = networks(kind, bias, "float64", reference.device)
    labels = np.random.default_rng(5).integers(0, 4, len(x))
    found = gradient_check(net, x, labels, SoftmaxCrossEntropy())
    assert found.ratio < GRADIENT_RATIO, found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [None, "linear"])
def test_dense_without_an_activation_is_numpys_expressions_to_the_bit(activation, bias):
    net = Sequential(Dense(6, 9, bias, activation=activation), seed=3, device="cpu")
    rng = np.random.default_rng(4)
    net.parameters().flat[...] = rng.standard_normal(net.parameters().flat.shape)
    weight = net.parameters()["0.weight"]
    x, dy = (rng.standard_normal((500, width)).astype("float32") for width in (6, 9))
    y = net.forward(x, train=True)
    dx = net.backward(dy)
    want = x @ weight
    if bias:
        want += net.parameters()["0.bias"]
        assert np.array_equal(net.parameters().grads["0.bias"], np.sum(dy, axis=0))
    assert np.array_equal(y, want)
    assert np.array_equal(dx, dy @ weight.T)
    assert np.array_equal(net.parameters().grads["0.weight"], x.T @ dy)


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_in_is_left_untouched(kind):
    _, net, x, dy = networks(kind)
    kept = x.copy(), dy.copy()
    first = net.layers[0]
    y = first.forward(x, train=True)
    hidden = y.copy()
    given = np.ones_like(y)
    first.backward(given)
    assert np.array_equal(x, kept[0])
    assert np.array_equal(y, hidden), "what the next layer reads was written"
    assert (given == 1).all()


def test_a_dense_layer_keeps_nothing_that_it_does_not_need():
    net = Sequential(Dense(3, 4), Dense(4, 4, activation="tanh"), device="cpu")
    net.forward(np.ones((2, 3)), train=True)
    (_, nothing), (x, y) = (layer.saved for layer in net.layers)
    assert nothing is None
    assert x.shape == y.shape == (2, 4)


def test_what_is_told_from_x_is_kept_beside_y():
    net = Sequential(Dense(3, 4, activation="silu"), SiLU(), Softplus(), device="cpu")
    x = np.ones((2, 3), "float32")
    net.forward(x, train=True)
    dense, silu, softplus = net.layers
    h = x @ net.parameters()["0.weight"]
    np.testing.assert_array_equal(dense.saved[1], h)
    np.testing.assert_array_equal(silu.saved, SiLU().forward(h))
    np.testing.assert_array_equal(softplus.saved, SiLU().forward(silu.saved))


@pytest.mark.parametrize("name", ["elu", "gelu", "gelu_tanh", "silu", "softplus"])
def test_a_network_of_any_activation_learns(name):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    for layers in ([Dense(6, 16), LAYERS[name]()], [Dense(6, 16, activation=name)]):
        net = Sequential(*layers, Dense(16, 2), seed=0, device="cpu")
        options = {"loss": SoftmaxCrossEntropy(), "optimizer": Adam(net.parameters(), lr=0.03)}
        history = fit(net, (x, labels), epochs=30, batch_size=20, progress=False, **options)
        assert history.path == "captured"
        assert history.loss[-1] < 0.7 * history.loss[0]


def test_a_fused_network_learns_what_the_other_does():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6)).astype("float32")
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    losses = []
    for net in networks("relu")[:2]:
        options = {"loss": SoftmaxCrossEntropy(), "optimizer": Adam(net.parameters(), lr=0.01)}
        losses.append(fit(net, (x, labels), epochs=8, batch_size=20, progress=False, **options))
    np.testing.assert_allclose(losses[1].loss, losses[0].loss, rtol=1e-4)
    assert losses[1].loss[-1] < 0.5 * losses[1].loss[0]


def test_a_network_is_pickled_with_its_activations():
    net = Sequential(Dense(6, 5, activation="leaky_relu", slope=0.3), LeakyReLU(0.4), device="cpu")
    x = np.random.default_rng(1).standard_normal((3, 6))
    other = pickle.loads(pickle.dumps(net))
    assert np.array_equal(net(x), other(x))
    assert repr(other) == repr(net)


def test_layers_say_how_they_were_made():
    shown = {
        "Dense(3, 2)": Dense(3, 2),
        "Dense(3, 2, bias=False, init='glorot')": Dense(3, 2, False, "glorot"),
        "Dense(3, 2, activation='relu')": Dense(3, 2, activation="relu"),
        "Dense(3, 2, activation='leaky_relu', slope=0.2)": Dense(
            3, 2, activation="leaky_relu", slope=0.2
        ),
        "LeakyReLU()": LeakyReLU(),
        "LeakyReLU(0.2)": LeakyReLU(0.2),
        "Linear()": Linear(),
        "Dense(3, 2, activation='elu', alpha=0.2)": Dense(3, 2, activation="elu", alpha=0.2),
        "Dense(3, 2, activation='softplus', beta=2.0, threshold=9.0)": Dense(
            3, 2, activation="softplus", beta=2, threshold=9
        ),
        "ELU()": ELU(),
        "ELU(0.2)": ELU(0.2),
        "GELU()": GELU(),
        "GELU('tanh')": GELU("tanh"),
        "SiLU()": SiLU(),
        "Softplus()": Softplus(),
        "Softplus(beta=2.0, threshold=9.0)": Softplus(2, 9),
        "Softmax()": Softmax(),
    }
    for text, layer in shown.items():
        assert repr(layer) == text
        assert repr(eval(text)) == text
        assert repr(type(layer)(**layer.config())) == text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"activation": "mish"}, ValueError, "activation is 'mish'; expected one of 'linear'"),
        ({"activation": "elu", "alpha": True}, TypeError, "alpha is True"),
        ({"beta": -1.0}, ValueError, "beta is -1.0; expected a finite number > 0"),
        ({"threshold": None}, TypeError, "threshold is None"),
        ({"activation": ReLU()}, TypeError, r"activation is ReLU\(\); expected one of"),
        ({"activation": "relu", "slope": 0}, ValueError, "slope is 0; expected a finite number >"),
        ({"slope": "steep"}, TypeError, "slope is 'steep'"),
    ],
)
def test_dense_refuses_other_activations(options, error, message):
    with pytest.raises(error, match=message):
        Dense(3, 2, **options)


@pytest.mark.parametrize("slope", [0, -1, np.nan, "0.1", None])
def test_leaky_relu_refuses_other_slopes(slope):
    with pytest.raises((TypeError, ValueError), match="slope is"):
        LeakyReLU(slope)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ELU(0), ValueError, "alpha is 0; expected a finite number > 0"),
        (lambda: ELU("1"), TypeError, "alpha is '1'"),
        (lambda: GELU(True), TypeError, "approximate is True; expected one of 'none', 'tanh'"),
        (lambda: GELU("erf"), ValueError, "approximate is 'erf'; expected one of 'none', 'tanh'"),
        (lambda: Softplus(0), ValueError, "beta is 0; expected a finite number > 0"),
        (lambda: Softplus(beta=None), TypeError, "beta is None"),
        (lambda: Softplus(threshold=-1), ValueError, "threshold is -1; expected a finite number"),
        (lambda: Softplus(threshold=True), TypeError, "threshold is True"),
    ],
)
def test_activations_refuse_other_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


# --- softmax --------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5,), (4, 1), (3, 7), (2, 3, 11), (0, 4)])
def test_softmax_is_the_exponentials_shares_of_each_row(reference, shape, dtype):
    rng = np.random.default_rng(5)
    z = (rng.standard_normal(shape) * 5).astype(dtype)
    layer = Softmax()
    found = layer.forward(reference.asarray(z), train=True)
    assert found.dtype == dtype
    powers = np.exp(z.astype("float64"))
    y = powers / powers.sum(axis=-1, keepdims=True)
    limit = {"float16": 0.6}.get(dtype, 40.0)  # the rounding of z - max z, which float16 is past
    assert_close(reference.to_numpy(found), y, dtype, limit=limit)
    dy = rng.standard_normal(shape).astype(dtype)
    dx = layer.backward(reference.asarray(dy))
    y = reference.to_numpy(found).astype("float64")
    want = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
    assert dx.dtype == dtype
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(reference.to_numpy(dx), want, rtol=4 * eps, atol=4 * eps)
    assert layer.backward(reference.asarray(dy), input_grad=False) is None


def test_softmax_is_stable_and_shows_nan():
    rows = np.array([[1e4, 1e4, -1e4], [-1e4, -1e4, -np.inf], [0, np.nan, 1], [np.inf, 0, 1]])
    y = Softmax().forward(rows.astype("float32"))
    np.testing.assert_array_equal(y[:2], [[0.5, 0.5, 0], [0.5, 0.5, 0]])
    assert np.isnan(y[2:]).any(axis=1).all()


def test_softmax_and_cross_entropy_are_the_loss_of_logits():
    """-log p, and its gradient through the layer, are those of the fused loss."""
    rng = np.random.default_rng(6)
    z, k = rng.standard_normal((8, 5)), rng.integers(0, 5, 8)
    layer, rows = Softmax(), np.arange(8)
    p = layer.forward(z, train=True)
    dy = np.zeros_like(p)
    dy[rows, k] = -1 / (8 * p[rows, k])
    loss, gradient = SoftmaxCrossEntropy()(z, k)
    np.testing.assert_allclose(-np.log(p[rows, k]).mean(), loss, rtol=1e-13)
    np.testing.assert_allclose(layer.backward(dy), gradient, rtol=1e-12, atol=1e-15)


def test_softmax_refuses_what_has_no_last_axis():
    with pytest.raises(ValueError, match=r"x of Softmax\(\) has shape \(3, 0\); expected a last"):
        Softmax().forward(np.ones((3, 0)))
    layer = Softmax()
    layer.forward(np.ones((2, 3)), train=True)
    with pytest.raises(ValueError, match=r"dy of Softmax\(\) has shape \(3,\); expected \(2, 3\)"):
        layer.backward(np.ones(3))
