"""How weights start: variances, seeds, and refusals."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from onepass.nets import DEVIATIONS, Dense, ReLU, Sequential, deviation
from onepass.nets.layers.first_weights import initialize
from onepass.nets.network.multilayer import multilayer

N_IN, N_OUT = 400, 300
EXPECTED = {
    "he": sqrt(2 / N_IN),
    "xavier": sqrt(1 / N_IN),
    "glorot": sqrt(2 / (N_IN + N_OUT)),
    "glorot_uniform": sqrt(2 / (N_IN + N_OUT)),
    "normal": 0.01,
    "zeros": 0.0,
}


def test_every_initializer_is_tested():
    assert set(DEVIATIONS) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_weights_have_the_mean_and_deviation_of_the_paper(name):
    weights = initialize(name, N_IN, N_OUT, np.random.default_rng(0))
    expected = EXPECTED[name]
    assert weights.shape == (N_IN, N_OUT)
    assert deviation(name, N_IN, N_OUT) == pytest.approx(expected)
    # Five standard errors of 120,000 normals: 1.4 % of the mean's unit, 1 % of the deviation.
    assert abs(weights.mean()) <= 5 * expected / sqrt(weights.size)
    assert weights.std() == pytest.approx(expected, rel=5 / sqrt(2 * weights.size))


def test_he_keeps_the_size_of_signals_through_many_relu_layers():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 256))
    before = np.sqrt(np.mean(x**2))
    for _ in range(10):
        x = np.maximum(x, 0) @ initialize("he", 256, 256, rng)
    assert np.sqrt(np.mean(x**2)) == pytest.approx(before, rel=0.3)


def test_same_seed_same_network_other_seed_another():
    def net(seed, **options):
        return Sequential(Dense(5, 4), ReLU(), Dense(4, 3), seed=seed, device="cpu", **options)

    np.testing.assert_array_equal(net(1).parameters().flat, net(1).parameters().flat)
    assert (net(1).parameters()["0.weight"] != net(2).parameters()["0.weight"]).all()
    wide = net(1, dtype="float64").parameters().flat
    np.testing.assert_array_equal(net(1).parameters().flat, wide.astype("float32"))


def test_another_start_of_one_layer_leaves_the_others():
    def net(init):
        return Sequential(Dense(5, 4, init=init), Dense(4, 3), device="cpu").parameters()

    he, zeros = net("he"), net("zeros")
    assert not zeros["0.weight"].any()
    np.testing.assert_array_equal(he["1.weight"], zeros["1.weight"])


def test_the_even_start_fills_its_bounds_with_biases_too():
    c = sqrt(6 / (N_IN + N_OUT))
    net = Sequential(
        Dense(N_IN, N_OUT, init="glorot_uniform", bias_init="glorot_uniform"), device="cpu"
    )
    for values in net.parameters().values():
        assert 0.95 * c < abs(values).max() <= c * (1 + 1e-6)
        assert abs(values.mean()) < c / 5  # five standard errors of 300 are 0.17 c
    assert "bias_init='glorot_uniform'" in repr(net.layers[0])
    with pytest.raises(ValueError, match="bias_init is 'he'; expected 'zeros' or"):
        Dense(3, 4, bias_init="he")
    with pytest.raises(ValueError, match="expected 'zeros' without a bias"):
        Dense(3, 4, bias=False, bias_init="glorot_uniform")


def test_biases_start_at_zero():
    net = Sequential(Dense(5, 4), device="cpu")
    assert not net.parameters()["0.bias"].any()
    assert net.parameters()["0.weight"].all()


def test_networks_of_one_seed_start_equal_on_cpu_and_gpu(reference):
    nets = [Sequential(Dense(5, 4), seed=3, device=d) for d in ("cpu", reference.device)]
    starts = [net.state_dict()["0.weight"] for net in nets]
    np.testing.assert_array_equal(*starts)


def test_refuses_unknown_names_and_bad_widths():
    with pytest.raises(ValueError, match="init is 'kaiming'; expected one of 'he', 'xavier'"):
        Dense(3, 4, init="kaiming")
    with pytest.raises(ValueError, match="n_in is 0; expected at least 1"):
        Dense(0, 4)
    with pytest.raises(ValueError, match="n_out is -2; expected at least 1"):
        Dense(3, -2)
    with pytest.raises(TypeError, match=r"n_in is 3\.0 \(float\); expected an integer"):
        Dense(3.0, 4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="n_in is True"):
        Dense(True, 4)


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_a_network_refuses_unknown_starts_whatever_its_layers(hidden):
    for init in ("kaiming", ""):
        with pytest.raises(ValueError, match=r"init is .*; expected one of 'he'"):
            multilayer(3, hidden, 2, init=init, device="cpu")
