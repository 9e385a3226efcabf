"""The BatchNorm layer: its two modes, its buffers, and networks that hold it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from onepass import nets
from onepass.nets import Adam, BatchNorm, Dense, ReLU, Sequential, SoftmaxCrossEntropy, fit


def network(*layers, dtype="float64"):
    return Sequential(*layers, seed=1, dtype=dtype, device="cpu")


def batch(n=32, features=4, seed=0):
    return np.random.default_rng(seed).normal(5.0, 3.0, (n, features))


def test_training_normalizes_the_batch_and_inference_what_training_saw():
    net, x = network(BatchNorm(4)), batch()
    y = net.forward(x, train=True)
    np.testing.assert_allclose(y.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), 1.0, rtol=1e-4)
    mean, var = net.buffers()["0.running_mean"], net.buffers()["0.running_var"]
    np.testing.assert_allclose(mean, 0.1 * x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(var, 0.9 + 0.1 * x.var(axis=0, ddof=1), rtol=1e-12)
    before = mean.copy(), var.copy()
    expected = (x - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(net.forward(x), expected, rtol=1e-12)
    np.testing.assert_array_equal((mean, var), before, "inference wrote running statistics")


def test_one_sample_can_be_predicted_but_not_trained_on():
    net, x = network(BatchNorm(4)), batch(1)
    assert net.forward(x).shape == (1, 4)
    with pytest.raises(ValueError, match="not 2 values a channel"):
        net.forward(x, train=True)


def test_options_reach_the_kernel():
    x = batch()
    net = network(BatchNorm(4, momentum=1.0, eps=2.0, activation="relu"))
    y = net.forward(x, train=True)
    np.testing.assert_allclose(net.buffers()["0.running_mean"], x.mean(axis=0), rtol=1e-12)
    expected = np.maximum((x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 2.0), 0)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)


def test_relu_in_the_layer_is_a_relu_after_it():
    x, dy = batch(), batch(seed=1)
    results = []
    for layers in ((BatchNorm(4, activation="relu"),), (BatchNorm(4), ReLU())):
        net = network(*layers)
        net.parameters()["0.beta"][...] = [0.5, -0.5, 0.0, 1.0]
        y = net.forward(x, train=True)
        results.append((y, net.backward(dy), net.parameters().flat_grads.copy()))
    for fused, apart in zip(*results, strict=True):
        np.testing.assert_allclose(fused, apart, rtol=1e-10, atol=1e-12)


def test_images_are_normalized_by_channel():
    x = np.random.default_rng(0).normal(2.0, 3.0, (5, 4, 3, 2))
    y = network(BatchNorm(4)).forward(x, train=True)
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0.0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_checkpoint_carries_the_running_statistics(dtype):
    make = lambda: network(Dense(4, 3, bias=False), BatchNorm(3), Dense(3, 2), dtype=dtype)  # noqa: E731
    net, x = make(), batch().astype(dtype)
    net.forward(x, train=True)
    state = net.state_dict()
    assert list(state)[-2:] == ["1.running_mean", "1.running_var"]
    assert state["1.running_mean"].dtype == ("float64" if dtype == "float64" else "float32")
    other = make()
    assert not np.array_equal(other.forward(x), net.forward(x))
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.forward(x), net.forward(x))
    state["1.running_mean"][...] = 9
    assert not (net.buffers()["1.running_mean"] == 9).any(), "state_dict gave the array itself"


def test_a_state_without_running_statistics_is_refused_and_nothing_written():
    net = network(Dense(4, 3), BatchNorm(3))
    kept = net.state_dict()
    state = {name: value + 1 for name, value in kept.items() if "running" not in name}
    with pytest.raises(ValueError, match=r"lacks '1\.running_mean', '1\.running_var'"):
        net.load_state_dict(state)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, kept[name])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_has_buffers_of_its_own(duplicate):
    net, x = network(BatchNorm(4)), batch()
    net.forward(x, train=True)
    twin = duplicate(net)
    np.testing.assert_array_equal(twin.forward(x), net.forward(x))
    twin.forward(x, train=True)
    assert not np.array_equal(twin.buffers()["0.running_mean"], net.buffers()["0.running_mean"])
    assert twin.layers[0].buffers["running_mean"] is twin.buffers()["0.running_mean"]


@pytest.mark.gpu
def test_a_network_moves_with_its_running_statistics(reference):
    if reference.device == "cpu":
        pytest.skip("there is nowhere to move to")
    net, x = network(BatchNorm(4)), batch()
    net.forward(x, train=True)
    expected = net.forward(x)
    moved = net.to("cuda").forward(x)
    np.testing.assert_allclose(reference.to_numpy(moved), expected, rtol=1e-10)


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="features is '4'"):
        BatchNorm("4")
    with pytest.raises(ValueError, match="features is 0"):
        BatchNorm(0)
    with pytest.raises(ValueError, match="gives 3; expected the same number"):
        network(Dense(4, 3), BatchNorm(4))
    net = network(BatchNorm(4))
    with pytest.raises(ValueError, match=r"shape \(32, 3\); expected \(n, 4, ...\)"):
        net.forward(batch(features=3))
    with pytest.raises(RuntimeError, match="needs forward"):
        net.backward(batch())


def test_every_option_shows_in_the_name():
    layer = BatchNorm(4, momentum=0.2, eps=1e-3, activation="relu")
    assert repr(layer) == "BatchNorm(4, momentum=0.2, eps=0.001, activation='relu')"
    assert repr(BatchNorm(4)) == "BatchNorm(4)"


@pytest.mark.parametrize(
    ("samples", "batch_size", "message"),
    [
        (33, 32, "batch_size is 32, which leaves a batch of 1 of the 33 samples"),
        (5, 1, "batch_size is 1, which leaves a batch of 1 of the 5 samples"),
        (1, 8, "data has 1 sample, but .* takes 2 or more to train on; expected more samples"),
    ],
)
def test_fit_refuses_a_batch_of_one_before_anything_is_written(samples, batch_size, message):
    net = network(Dense(4, 3, bias=False), BatchNorm(3), Dense(3, 2))
    kept = net.state_dict()
    with pytest.raises(ValueError, match=message):
        fit(
            net,
            (batch(samples), np.zeros(samples, int)),
            loss=SoftmaxCrossEntropy(),
            optimizer=Adam(net.parameters()),
            batch_size=batch_size,
            progress=False,
        )
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, kept[name])


def test_digits_with_batch_norm():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    recipe = nets.digits_recipe(device="cpu")
    biases = [name for name in recipe.net.parameters() if name.endswith("bias")]
    assert biases == ["6.bias"], "a bias before a norm does nothing"
    history = recipe.train(nets.load_digits(), progress=False)
    assert history.val_accuracy[-1] >= 0.965
