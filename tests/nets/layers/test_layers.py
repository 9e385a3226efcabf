"""Layers and networks: values, gradients by two-sided differences, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from cases.layers import LAYERS, gradient_ratio
from onepass import nets
from onepass.nets import (
    BatchNorm,
    Dense,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    SoftmaxCrossEntropy,
    Tanh,
)


def away_from_zero(rng, shape):
    """Values on both sides of zero, none near it, where ReLU has no derivative."""
    x = rng.standard_normal(shape)
    return x + 0.1 * np.sign(x)


def test_every_layer_is_checked():
    exported = [getattr(nets, name) for name in nets.__all__]
    layers = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Layer)}
    assert {type(make()) for make in LAYERS.values()} == layers - {Layer, nets.Activation}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_gradients(name):
    rng = np.random.default_rng(1)
    net = Sequential(LAYERS[name](), seed=1, dtype="float64", device="cpu")
    parameters = net.parameters()
    parameters.flat[...] = rng.standard_normal(parameters.flat.shape)
    x = away_from_zero(rng, (5, 4))
    weights = rng.standard_normal(net(x).shape)
    random_state = net.random_state()

    def loss():
        net.load_random_state(random_state)
        return float(np.sum(weights * net.forward(x, train=True)))

    loss()
    dx = net.backward(weights)
    assert gradient_ratio(loss, x, dx) < 1e-7
    for key in parameters:
        assert gradient_ratio(loss, parameters[key], parameters.grads[key]) < 1e-7, key


def test_composed_network_gradients():
    rng = np.random.default_rng(2)
    net = Sequential(
        Dense(6, 5),
        Tanh(),
        Dense(5, 5, bias=False, init="glorot"),
        BatchNorm(5),
        Sigmoid(),
        Dense(5, 7, init="xavier"),
        ReLU(),
        Dense(7, 3),
        seed=2,
        dtype="float64",
        device="cpu",
    )
    x = rng.standard_normal((8, 6))
    labels = rng.integers(0, 3, 8)
    criterion = SoftmaxCrossEntropy()

    def loss():
        return float(criterion(net.forward(x, train=True), labels)[0])

    _, dlogits = criterion(net.forward(x, train=True), labels)
    dx = net.backward(dlogits)
    parameters = net.parameters()
    assert gradient_ratio(loss, parameters.flat, parameters.flat_grads) < 1e-7
    assert gradient_ratio(loss, x, dx) < 1e-7


def test_backward_without_input_gradient_writes_the_same_parameter_gradients():
    rng = np.random.default_rng(3)
    for layers in (lambda: (Dense(4, 3), Tanh(), Dense(3, 2)), lambda: (Tanh(), Dense(4, 2))):
        net = Sequential(*layers(), dtype="float64", device="cpu")
        x, dy = rng.standard_normal((5, 4)), rng.standard_normal((5, 2))
        net.forward(x, train=True)
        assert net.backward(dy).shape == x.shape
        expected = net.parameters().flat_grads.copy()
        net.parameters().flat_grads[...] = np.nan
        assert net.backward(dy, input_grad=False) is None
        np.testing.assert_array_equal(net.parameters().flat_grads, expected)


def test_first_layer_spares_its_input_gradient(monkeypatch):
    asked = {}
    original = Dense.backward

    def spy(layer, dy, input_grad=True):
        asked[layer.in_features] = input_grad
        return original(layer, dy, input_grad)

    monkeypatch.setattr(Dense, "backward", spy)
    net = Sequential(Dense(4, 3), ReLU(), Dense(3, 2), device="cpu")
    net.forward(np.ones((1, 4)), train=True)
    net.backward(np.ones((1, 2), np.float32), input_grad=False)
    assert asked == {3: True, 4: False}


def test_dense_is_a_matrix_product_and_writes_into_the_flat_gradients():
    rng = np.random.default_rng(4)
    net = Sequential(Dense(4, 3), dtype="float64", device="cpu")
    net.parameters()["0.bias"][...] = [1, 2, 3]
    x, dy = rng.standard_normal((5, 4)), rng.standard_normal((5, 3))
    weight = net.parameters()["0.weight"]
    np.testing.assert_allclose(net.forward(x, train=True), x @ weight + [1, 2, 3], rtol=1e-14)
    dx = net.backward(dy)
    np.testing.assert_allclose(dx, dy @ weight.T, rtol=1e-14)
    expected = np.concatenate([(x.T @ dy).ravel(), dy.sum(axis=0)])
    np.testing.assert_allclose(net.parameters().flat_grads, expected, rtol=1e-13)


def test_sigmoid_is_stable_and_accurate_for_large_inputs():
    x = np.array([[-1e4, -705.0, -80.0, 0.0, 80.0, 1e4]])
    y = Sigmoid().forward(x)  # the test run turns an overflow warning into an error
    np.testing.assert_allclose(y, [[0, np.exp(-705.0), np.exp(-80.0), 0.5, 1, 1]], rtol=1e-14)
    single = Sigmoid().forward(x.astype("float32"))
    assert single.dtype == np.float32
    assert np.isfinite(single).all()


@pytest.mark.parametrize("make", [ReLU, LeakyReLU, Linear, Sigmoid, Softmax, Tanh])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_activations_keep_dtype_and_inputs(make, dtype):
    layer = make()
    x = np.linspace(-2, 2, 6, dtype=dtype).reshape(2, 3)
    dy = np.ones((2, 3), dtype)
    kept = x.copy(), dy.copy()
    y = layer.forward(x, train=True)
    dx = layer.backward(dy)
    assert y.dtype == dx.dtype == dtype
    np.testing.assert_array_equal((x, dy), kept)


def test_relu_passes_no_gradient_where_it_is_zero_not_even_nan():
    layer = ReLU()
    layer.forward(np.array([[-1.0, 0.0, 1.0]]), train=True)
    np.testing.assert_array_equal(layer.backward(np.array([[np.inf, np.nan, 3.0]])), [[0, 0, 3]])


def test_input_is_brought_to_the_networks_dtype():
    net = Sequential(Dense(3, 2), device="cpu")
    x = np.arange(6).reshape(2, 3)
    assert net(x).dtype == np.float32
    np.testing.assert_array_equal(net(x), net(x.astype("float32")))
    assert x.dtype.kind == "i"


def test_inference_leaves_a_pending_backward_alone():
    net = Sequential(Dense(3, 2), Tanh(), dtype="float64", device="cpu")
    rng = np.random.default_rng(5)
    x, other, dy = (rng.standard_normal(shape) for shape in ((4, 3), (9, 3), (4, 2)))
    net.forward(x, train=True)
    expected = net.backward(dy)
    net.forward(x, train=True)
    net(other)
    np.testing.assert_array_equal(net.backward(dy), expected)


def test_backward_needs_a_training_forward():
    net = Sequential(Dense(3, 2), device="cpu")
    net(np.ones((1, 3)))
    with pytest.raises(RuntimeError, match=r"Dense\(3, 2\) needs forward\(x, train=True\)"):
        net.backward(np.ones((1, 2)))
    with pytest.raises(RuntimeError, match=r"Tanh\(\) needs forward"):
        Tanh().backward(np.ones((1, 2)))


def test_backward_needs_a_forward_on_the_device_the_network_is_on(reference):
    net = Sequential(Dense(3, 2), device="cpu")
    net.forward(np.ones((1, 3)), train=True)
    net.to(reference.device)
    with pytest.raises(RuntimeError, match="needs forward"):
        net.backward(net.backend.asarray(np.ones((1, 2), np.float32)))


def test_layer_without_a_network_says_so():
    with pytest.raises(RuntimeError, match=r"Dense\(3, 2\) has no arrays yet"):
        Dense(3, 2).forward(np.ones((1, 3)))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 1)])
def test_dense_refuses_other_shapes(shape):
    net = Sequential(Dense(3, 2), device="cpu")
    with pytest.raises(ValueError, match=r"Dense\(3, 2\) has shape .*; expected \(n, 3\)"):
        net(np.ones(shape))


def test_backward_refuses_other_shapes():
    net = Sequential(Dense(3, 2), ReLU(), device="cpu")
    net.forward(np.ones((4, 3)), train=True)
    with pytest.raises(ValueError, match=r"ReLU\(\) has shape \(1, 2\); expected \(4, 2\)"):
        net.backward(np.ones((1, 2), np.float32))
    net = Sequential(Dense(3, 2), device="cpu")
    net.forward(np.ones((4, 3)), train=True)
    with pytest.raises(ValueError, match=r"has shape \(4, 1\); expected \(4, 2\)"):
        net.backward(np.ones((4, 1), np.float32))


def test_widths_that_do_not_fit_name_both_layers():
    expected = r"layer 2 Dense\(30, 10\) takes 30 features, but layer 0 Dense\(64, 32\) gives 32"
    with pytest.raises(ValueError, match=expected):
        Sequential(Dense(64, 32), ReLU(), Dense(30, 10), device="cpu")


def test_refuses_what_is_no_layer_and_layers_in_use():
    with pytest.raises(ValueError, match="layers are none"):
        Sequential(device="cpu")
    with pytest.raises(TypeError, match="layer 1 is a str; expected a Layer"):
        Sequential(Dense(3, 3), "ReLU", device="cpu")  # type: ignore[arg-type]
    dense = Dense(3, 3)
    with pytest.raises(ValueError, match=r"layer 1 Dense\(3, 3\) is part of a network already"):
        Sequential(dense, dense, device="cpu")
    first = Sequential(dense, device="cpu")
    with pytest.raises(ValueError, match="is part of a network already"):
        Sequential(dense, device="cpu")
    assert first(np.ones((1, 3))).shape == (1, 3)


def test_state_dict_round_trip_and_independence():
    one = Sequential(Dense(3, 4), Tanh(), Dense(4, 2), seed=1, device="cpu")
    two = Sequential(Dense(3, 4), Tanh(), Dense(4, 2), seed=2, device="cpu")
    x = np.ones((2, 3))
    state = one.state_dict()
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    two.load_state_dict(state)
    np.testing.assert_array_equal(one(x), two(x))
    state["0.weight"][...] = 0
    assert one.parameters()["0.weight"].any()
    assert two.parameters()["0.weight"].any()


def wrong_states():
    def without(state):
        return {name: value for name, value in state.items() if name != "0.bias"}

    yield "missing", without, ValueError, "state lacks '0.bias'; expected '0.weight', '0.bias'"
    yield "extra", lambda s: s | {"9.w": s["0.bias"]}, ValueError, "has the unexpected '9.w'"
    yield (
        "shape",
        lambda s: s | {"2.bias": np.zeros(3, "f4")},
        ValueError,
        r"state\['2.bias'\] has shape \(3,\); expected \(2,\)",
    )
    yield (
        "dtype",
        lambda s: s | {"2.bias": np.zeros(2)},
        TypeError,
        r"has dtype float64; expected float32. Convert it with .astype\('float32'\)",
    )
    yield "list", lambda s: s | {"2.bias": [0, 0]}, TypeError, "is a list; expected a NumPy array"
    yield "no mapping", lambda s: list(s), TypeError, "state is a list; expected a mapping"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [pytest.param(*case, id=name) for name, *case in wrong_states()],
)
def test_wrong_state_is_refused_and_nothing_is_loaded(change, error, message):
    net = Sequential(Dense(3, 4), Tanh(), Dense(4, 2), seed=1, device="cpu")
    before = net.parameters().flat.copy()
    other = Sequential(Dense(3, 4), Tanh(), Dense(4, 2), seed=2, device="cpu")
    with pytest.raises(error, match=message):
        net.load_state_dict(change(other.state_dict()))
    np.testing.assert_array_equal(net.parameters().flat, before)


def test_widths_of_a_network():
    net = Sequential(ReLU(), Dense(3, 4), Tanh(), Dense(4, 2), Sigmoid(), device="cpu")
    assert (net.in_features, net.out_features) == (3, 2)
    assert Sequential(ReLU(), device="cpu").in_features is None


class Convolution(Layer):
    """Of 1 x 1 pixels: each pixel's channels through one matrix, on rows or on images."""

    def __init__(self, channels, filters, side, rows):
        self.channels, self.filters, self.side, self.rows = channels, filters, side, rows
        self.in_features = channels * side * side if rows else channels
        self.out_features = filters

    def shapes(self):
        return {"weight": (self.filters, self.channels)}

    def initial(self, rng):
        return {"weight": rng.standard_normal(self.shapes()["weight"])}

    def forward(self, x, train=False):
        images = x.reshape(len(x), self.channels, self.side, self.side)
        self._saved = images
        return np.einsum("fc,nchw->nfhw", self.params["weight"], images)

    def backward(self, dy, input_grad=True):
        np.einsum("nfhw,nchw->fc", dy, self.saved, out=self.grads["weight"])
        dx = np.einsum("fc,nfhw->nchw", self.params["weight"], dy)
        return dx.reshape(len(dx), -1) if self.rows else dx


class Flatten(Layer):
    def __init__(self, channels, side):
        self.in_features, self.out_features = channels, channels * side * side

    def forward(self, x, train=False):
        self._saved = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy, input_grad=True):
        return dy.reshape(self.saved)


def test_layers_for_images_state_their_widths_as_the_docstring_tells():
    """The widths that `Layer` advises fit each other, and `fit` and `gradient_check`."""
    net = Sequential(
        Convolution(3, 4, 2, rows=True), BatchNorm(4), ReLU(), Convolution(4, 5, 2, rows=False),
        Flatten(5, 2), Dense(20, 2), dtype="float64", device="cpu",
    )  # fmt: skip
    assert (net.in_features, net.out_features) == (12, 2)
    x, y = np.random.default_rng(0).standard_normal((6, 12)), np.arange(6) % 2
    assert nets.gradient_check(net, x, y, SoftmaxCrossEntropy()).verdict == "right"
    options = {"optimizer": nets.Adam(net.parameters(), lr=0.1), "progress": False}
    history = nets.fit(net, (x, y), loss=SoftmaxCrossEntropy(), epochs=20, **options)
    assert history.loss[-1] < 0.5 * history.loss[0]


@pytest.mark.parametrize("name", LAYERS)
def test_no_rows_give_no_rows_and_no_gradient_but_what_averages_refuses_them(name):
    net = Sequential(LAYERS[name](), device="cpu")
    empty = np.zeros((0, 4), "float32")
    width = net(np.ones((1, 4))).shape[1]
    assert net(empty).shape == (0, width)
    assert nets.outputs(net, empty).shape == (0, width)
    net.parameters().flat_grads[...] = 7
    if net.least_rows > 1:
        with pytest.raises(ValueError, match="expected a larger batch to train on"):
            net.forward(empty, train=True)
        return
    y = net.forward(empty, train=True)
    assert net.backward(np.zeros_like(y)).shape == empty.shape
    assert not net.parameters().flat_grads.any()
    for loss, targets in (
        (SoftmaxCrossEntropy(), np.zeros(0, int)), (nets.MeanSquaredError(), y),
        (nets.BinaryCrossEntropy(), np.zeros(0)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="at least 1"):
            loss(y if targets is y or targets.dtype == int else y[:, 0], targets)


def test_network_on_each_device_agrees_with_the_cpu(reference):
    rng = np.random.default_rng(6)
    x, dy = rng.standard_normal((7, 5)), rng.standard_normal((7, 3))
    results = []
    for device in ("cpu", reference.device):
        net = Sequential(
            Dense(5, 6), Tanh(), Dense(6, 4), ReLU(), Dense(4, 3), Sigmoid(),
            seed=1, dtype="float64", device=device,
        )  # fmt: skip
        y = net.forward(x, train=True)
        dx = net.backward(net.backend.asarray(dy))
        results.append([net.backend.to_numpy(a) for a in (y, dx, net.parameters().flat_grads)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", np.random.default_rng(0)])
def test_a_network_names_a_seed_that_is_none(seed):
    with pytest.raises((TypeError, ValueError), match=r"seed is .*; expected an integer >= 0"):
        Sequential(Dense(2, 2), seed=seed)
