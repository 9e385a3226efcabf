"""Ensembles: averages of what several networks say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from onepass.nets import Dense, Ensemble, ReLU, Sequential, accuracy

X = np.random.default_rng(0).normal(0, 1, (30, 4)).astype("float32")


def net(seed, *widths, **options):
    layers = [Dense(n_in, n_out) for n_in, n_out in pairwise(widths)]
    return Sequential(*layers, seed=seed, **({"device": "cpu"} | options))


def logits(network, x):
    """The output of Dense layers, in float64, from the parameters alone."""
    state, x = network.state_dict(), x.astype("float64")
    for k in range(len(network.layers)):
        x = x @ state[f"{k}.weight"].astype("float64") + state[f"{k}.bias"]
    return x


def softmax(z):
    return np.array([[1 / sum(np.exp(other - one) for other in row) for one in row] for row in z])


def test_averages_probabilities_and_not_logits(reference):
    nets = [net(seed, 4, 3, device=reference.device) for seed in range(3)]
    nets[0].parameters().flat[...] *= 20  # one that is sure of itself
    ensemble = Ensemble(nets)
    expected = sum(softmax(logits(one, X)) for one in nets) / 3
    found = ensemble.predict_proba(reference.asarray(X))
    assert isinstance(found, np.ndarray)
    assert (found.shape, found.dtype) == ((30, 3), np.float64)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert np.abs(found - softmax(sum(logits(one, X) for one in nets) / 3)).max() > 0.01
    labels = ensemble.predict(X)
    np.testing.assert_array_equal(labels, expected.argmax(axis=1))
    assert labels.dtype == np.int64


def test_averages_outputs_of_a_regression():
    nets = [net(seed, 4, 5, 2) for seed in range(4)]
    expected = sum(logits(one, X) for one in nets) / 4
    found = Ensemble(nets).outputs(X, batch_size=7)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float64


def test_one_logit_is_two_classes():
    nets = [net(seed, 4, 1) for seed in range(3)]
    a = sum(1 / (1 + np.exp(-logits(one, X))) for one in nets) / 3
    ensemble = Ensemble(nets)
    np.testing.assert_allclose(ensemble.predict_proba(X), np.hstack([1 - a, a]), atol=1e-6)
    np.testing.assert_array_equal(ensemble.predict(X), (a[:, 0] > 0.5).astype(int))


def test_accuracy_is_the_share_of_right_answers():
    ensemble = Ensemble(net(seed, 4, 3) for seed in range(3))
    y = ensemble.predict(X)
    assert ensemble.accuracy(X, y) == 1
    y[:6] = (y[:6] + 1) % 3
    assert ensemble.accuracy(X, y) == pytest.approx(0.8)
    assert ensemble.accuracy(X, y[:, None]) == pytest.approx(0.8)
    for bad in (y[:-1], y[:0]):
        with pytest.raises(ValueError, match=rf"y has shape \({len(bad)},\); expected \(30,\)"):
            ensemble.accuracy(X, bad)


def test_of_one_is_that_one_and_leaves_it_alone():
    one = net(0, 4, 3)
    before = one.parameters().flat.copy()
    ensemble = Ensemble([one])
    np.testing.assert_allclose(ensemble.outputs(X), logits(one, X), atol=1e-6)
    assert ensemble.accuracy(X, np.zeros(30)) == accuracy(one, X, np.zeros(30))
    np.testing.assert_array_equal(one.parameters().flat, before)
    assert len(ensemble) == 1
    assert repr(ensemble) == "Ensemble([Sequential(Dense(4, 3))])"


def test_wrong_answers_of_one_are_outvoted():
    # Three networks that know two of three features each are right where two agree.
    nets = []
    for missing in range(3):
        one = net(0, 3, 2)
        weight = np.array([[-1.0, 1.0]] * 3)
        weight[missing] *= -1
        values = {"0.weight": weight.astype("float32"), "0.bias": np.zeros(2, "float32")}
        one.load_state_dict(values)
        nets.append(one)
    x = np.random.default_rng(1).normal(0, 1, (500, 3)).astype("float32")
    y = (x.sum(axis=1) > 0).astype(int)
    best = max(accuracy(one, x, y) for one in nets)
    assert Ensemble(nets).accuracy(x, y) > best + 0.1


def test_networks_may_differ_inside_and_in_dtype():
    nets = [
        Sequential(Dense(4, 8), ReLU(), Dense(8, 3), device="cpu"),
        net(1, 4, 3, dtype="float64"),
        net(2, 4, 3, dtype="float16"),
    ]
    found = Ensemble(nets).predict_proba(X)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-3)
    assert Ensemble(nets).outputs(X[:0]).shape == (0, 3)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="nets is empty; expected at least one network"):
        Ensemble([])
    with pytest.raises(TypeError, match=r"nets\[1\] is a Dense; expected a Sequential"):
        Ensemble([net(0, 4, 3), Dense(4, 3)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"nets\[1\] gives 2 features, but nets\[0\] 3; expected"):
        Ensemble([net(0, 4, 3), net(0, 4, 2)])
    with pytest.raises(ValueError, match=r"nets\[2\] takes 5 features, but nets\[0\] 4"):
        Ensemble([net(0, 4, 3), net(1, 4, 3), net(0, 5, 3)])
    with pytest.raises(ValueError, match=r"x has shape \(2, 5\); expected \(n, 4\)"):
        Ensemble([net(0, 4, 3)]).predict(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="batch_size is 0"):
        Ensemble([net(0, 4, 3)]).outputs(X, batch_size=0)
