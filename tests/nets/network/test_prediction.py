"""What a network says of data: classes, probabilities, and what it gives as it is."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from cases.training import KINDS, data, network, train
from onepass.nets import Dense, Ensemble, Sequential, accuracy, outputs, predict, predict_proba


def logistic(logits, dtype="float64", device="cpu"):
    """A network that gives these logits for the rows 0, 1, 2, ..."""
    net = Sequential(Dense(len(logits), logits.shape[1]), dtype=dtype, device=device)
    net.parameters()["0.weight"][...] = net.backend.asarray(logits.astype(dtype))
    return net, np.eye(len(logits))


def test_one_output_above_zero_is_class_1():
    net, x = logistic(np.array([[-2.0], [0.0], [1e-300], [3.0]]))
    assert predict(net, x).tolist() == [0, 0, 1, 1]
    assert predict(net, x).dtype == np.int64
    for y in ([0, 0, 1, 0], [[0], [0], [1], [0]]):
        assert accuracy(net, x, np.array(y)) == 0.75


def test_accuracy_is_that_of_the_history():
    pair = data("two")
    net, history = train(kind="two", validation=pair, epochs=5)
    assert accuracy(net, *pair) == history.val_accuracy[-1] > 0.8


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_probabilities_of_two_classes_are_the_sigmoid(dtype):
    z = np.array([[-1e4], [-3.0], [0.0], [2.0], [1e4]])
    net, x = logistic(z, dtype)
    p = predict_proba(net, x)
    assert (p.shape, p.dtype) == ((5, 2), dtype)
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-z[:, 0]))
    np.testing.assert_allclose(p[:, 1], expected, rtol=1e-3 if dtype == "float16" else 1e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=2e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_probabilities_of_more_classes_are_the_softmax(dtype):
    z = np.random.default_rng(0).normal(0, 3, (6, 4))
    z[0] = [1e4, 1e4, -1e4, -1e4]
    net, x = logistic(z, dtype)
    p = predict_proba(net, x)
    assert (p.shape, p.dtype) == ((6, 4), dtype)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    tolerance = 1e-2 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(p, e / e.sum(axis=1, keepdims=True), rtol=tolerance, atol=1e-7)
    np.testing.assert_array_equal(p[1:].argmax(axis=1), predict(net, x)[1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", [outputs, predict, predict_proba])
def test_in_batches_as_at_once(kind, function):
    net, x = network(kind), data(kind)[0]
    at_once = function(net, x)
    assert type(at_once) is np.ndarray
    for batch_size in (1, 7, 60):
        np.testing.assert_allclose(function(net, x, batch_size), at_once, rtol=1e-5, atol=1e-6)
    none = function(net, x[:0])
    assert (none.shape, none.dtype) == ((0, *at_once.shape[1:]), at_once.dtype)


def test_outputs_are_what_the_network_gives():
    net, x = network("numbers"), data("numbers")[0]
    np.testing.assert_array_equal(outputs(net, x), net(x))


@pytest.mark.parametrize("function", [outputs, predict, predict_proba])
def test_on_each_device(reference, function):
    x = data()[0]
    expected = function(network(dtype="float64"), x)
    net = network(dtype="float64", device=reference.device)
    for given in (x, reference.asarray(x)):
        found = function(net, given)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["U", "S", object, np.dtypes.StringDType()])
def test_accuracy_refuses_names_which_equal_no_number(kind):
    x, y = data()
    for judge in (partial(accuracy, network()), Ensemble([network()]).accuracy):
        with pytest.raises(TypeError, match=r"y holds the name b?'.*'; expected class numbers"):
            judge(x, np.array([f"class {k}" for k in y], "U").astype(kind))


def test_accuracy_takes_numbers_of_any_dtype():
    x, y = data()
    expected = accuracy(network(), x, y)
    for labels in (y.astype(object), y.astype("uint8"), y.astype(float), y[:, None], y.tolist()):
        assert accuracy(network(), x, labels) == expected


@pytest.mark.parametrize("call", [outputs, predict, predict_proba, lambda net, x: net(x)])
@pytest.mark.parametrize(
    ("kind", "remedy"),
    [("complex64", "values.real"), ("M8[s]", r"timedelta64\(1, 'D'\)"), ("m8[D]", "days")],
)
def test_refuses_what_a_real_dtype_can_not_hold(call, kind, remedy):
    rows = np.arange(4).reshape(2, 2).astype(kind)
    with pytest.raises(
        TypeError, match=rf"values have dtype .*; expected real numbers, .*{remedy}"
    ):
        call(network(), rows)
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="expected real numbers"):
        call(network(), pandas.DataFrame(rows))


@pytest.mark.parametrize("function", [outputs, predict, predict_proba])
def test_refuses(function):
    with pytest.raises(ValueError, match="batch_size is 0"):
        function(network(), data()[0], 0)
    with pytest.raises(ValueError, match=r"x has shape \(60, 1\); expected \(n, 2\)"):
        function(network(), data()[0][:, :1])
