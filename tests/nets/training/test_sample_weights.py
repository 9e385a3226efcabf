"""A weight for each row: of training data, beside those of classes, and of validation data."""

from __future__ import annotations

import numpy as np
import pytest
from cases.foreign_arrays import OnlyDLPack
from cases.training import OF_CLASSES, bits, data, network, train
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onepass.nets import SGD, Adam, Callback, EarlyStopping
from oracles.losses import (
    binary_cross_entropy,
    huber,
    mean_squared_error,
    poisson,
    softmax_cross_entropy,
)
from tolerances import CAPTURED_LIMITS

ORACLES = {
    "classes": softmax_cross_entropy,
    "two": binary_cross_entropy,
    "numbers": mean_squared_error,
    "labels": binary_cross_entropy,
    "outliers": huber(0.5),
    "counts": poisson,
}
ROWS = 60
WEIGHTS = np.random.default_rng(3).uniform(0, 3, ROWS)


def still(net):
    return SGD(net.parameters(), lr=0.0)


def oracle(net, kind, pair, weights):
    x, y = pair
    return ORACLES[kind](net(x), y.reshape(len(y), -1) if kind == "two" else y, weights)[0]


@pytest.mark.parametrize("kind", ORACLES)
def test_the_loss_is_the_formulas(kind):
    net, held_out = network(kind, dtype="float64"), data(kind, n=1500, seed=1)
    own = np.random.default_rng(4).uniform(0, 2, 1500)
    options = {"optimizer": still(net), "epochs": 1, "sample_weight": WEIGHTS}
    history = train(net, kind=kind, validation=(*held_out, own), **options)[1]
    assert history.loss == [pytest.approx(oracle(net, kind, data(kind), WEIGHTS), rel=1e-12)]
    assert history.val_loss == [pytest.approx(oracle(net, kind, held_out, own), rel=1e-12)]
    assert history.path == "captured"
    plain = train(net, kind=kind, validation=held_out, **options)[1]
    assert plain.val_loss == [pytest.approx(oracle(net, kind, held_out, None), rel=1e-12)]
    assert plain.metric == history.metric, "a metric is not weighted"
    assert plain.val_metric == history.val_metric


def in_one_batch(pair, kind, rate, steps=5, **options):
    net = network(kind, dtype="float64")
    options |= {"optimizer": SGD(net.parameters(), lr=rate), "batch_size": 1000}
    train(net, pair, kind, epochs=steps, **options)
    return net.parameters().flat


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from([*ORACLES]),
    times=st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS).filter(lambda k: sum(k) > 9),
    by_class=st.sampled_from([None, {1: 2.0}]),
)
def test_a_weight_of_k_is_the_row_k_times(kind, times, by_class):
    (x, y), times = data(kind), np.array(times)
    again = np.repeat(np.arange(ROWS), times)
    of_classes = kind in OF_CLASSES
    labels = y[again] if of_classes else np.arange(2)
    options = {"class_weight": by_class} if of_classes else {}
    assume(len(set(labels.tolist())) > 1)  # training refuses one class
    weighted = in_one_batch((x, y), kind, 0.1, sample_weight=times, **options)
    # both are means, over other numbers of rows
    repeated = in_one_batch((x[again], y[again]), kind, 0.1 * len(again) / ROWS, **options)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", ["classes", "two"])
def test_it_multiplies_the_weight_of_the_class(kind):
    (x, y), held_out = data(kind), data(kind, n=40, seed=1)
    by_class, own = np.array([0.5, 4.0, 1.0]), np.linspace(0, 2, 40)
    found = []
    for options in (
        {"class_weight": {0: 0.5, 1: 4.0}, "sample_weight": WEIGHTS, "held": own},
        {"sample_weight": WEIGHTS * by_class[y], "held": own * by_class[held_out[1]]},
    ):
        net = network(kind, dtype="float64")
        held = options.pop("held")
        history = train(net, (x, y), kind, validation=(*held_out, held), **options)[1]
        found.append([*net.parameters().flat, *history.loss, *history.val_loss])
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_balanced_goes_by_the_number_of_rows():
    (x, y), counts = data(), np.bincount(data()[1])
    found = []
    for options in (
        {"class_weight": "balanced", "sample_weight": WEIGHTS},
        {"sample_weight": WEIGHTS * (ROWS / (3 * counts))[y]},
    ):
        net = network(dtype="float64")
        train(net, (x, y), **options)
        found.append(net.parameters().flat)
    np.testing.assert_allclose(*found, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kind", ORACLES)
def test_ones_are_no_weights(kind, dtype):
    found = []
    for weights in (None, np.ones(ROWS, bool), [1] * ROWS):
        net = network(kind, dtype=dtype)
        train(net, kind=kind, sample_weight=weights)
        found.append(net.parameters().flat.astype("float64"))
    for each in found[1:]:
        np.testing.assert_allclose(each, found[0], rtol=20 * float(np.finfo(dtype).eps))


def test_arrays_of_other_libraries_and_dtypes_are_taken():
    found = []
    for weights in (WEIGHTS, WEIGHTS.tolist(), OnlyDLPack(WEIGHTS.copy()), WEIGHTS.astype("f4")):
        net = network()
        kept = np.array(WEIGHTS)
        train(net, sample_weight=weights, validation=(*data(n=ROWS, seed=1), weights))
        found.append(bits(net))
        np.testing.assert_array_equal(WEIGHTS, kept)
    assert all(each == found[0] for each in found)


class LayerByLayer(SGD):
    """A step of its own is not captured."""

    def step(self, *given):
        super().step(*given)


@pytest.mark.parametrize("kind", ORACLES)
def test_captured_is_layer_by_layer(kind):
    found, paths = [], []
    for optimizer in (SGD, LayerByLayer):
        net = network(kind, dtype="float64")
        options = {"optimizer": optimizer(net.parameters(), lr=0.1), "sample_weight": WEIGHTS}
        paths.append(train(net, kind=kind, **options)[1].path)
        found.append(net.parameters().flat)
    assert paths[0] == "captured" != paths[1]
    limit = CAPTURED_LIMITS["float64"] * float(np.finfo("float64").eps)
    np.testing.assert_allclose(*found, rtol=limit, atol=limit)


def test_gradients_that_are_added_up_are_those_of_the_larger_batch():
    found = []
    for batch in ({"batch_size": 4, "accumulate": 3}, {"batch_size": 12}):
        net = network(dtype="float64")
        train(net, sample_weight=WEIGHTS, **batch)
        found.append(net.parameters().flat)
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_on_each_device_as_on_the_cpu(reference):
    found = []
    for device in ("cpu", reference.device):
        net = network(dtype="float64", device=device)
        weights = WEIGHTS if device == "cpu" else reference.asarray(WEIGHTS)
        held_out = *data(n=30, seed=1), weights[:30]
        options = {"class_weight": "balanced", "sample_weight": weights, "validation": held_out}
        history = train(net, **options)[1]
        found.append([*net.state_dict()["0.weight"].ravel(), *history.loss, *history.val_loss])
    np.testing.assert_allclose(*found, rtol=1e-10)


def test_it_goes_on_from_the_middle_and_early_stopping_watches_the_weighted_loss():
    class Last(Callback):
        def on_end(self, run):
            self.run = run

    options = {"sample_weight": WEIGHTS, "validation": (*data(n=30, seed=1), WEIGHTS[:30])}
    net, other, last = network(), network(), Last()
    whole = train(net, optimizer=Adam(net.parameters()), epochs=6, **options)[1]
    optimizer = Adam(other.parameters())
    train(other, optimizer=optimizer, epochs=3, callbacks=[last], **options)
    resumed = train(other, optimizer=optimizer, epochs=6, resume=last.run, **options)[1]
    assert bits(net) == bits(other)
    assert resumed.val_loss == whole.val_loss
    stopping = EarlyStopping(patience=1)
    net = network(dtype="float64")
    history = train(net, callbacks=[stopping], **options)[1]
    expected = oracle(net, "classes", data(n=30, seed=1), WEIGHTS[:30])
    assert min(history.val_loss) == pytest.approx(expected, rel=1e-12)


MANY = np.ones(ROWS)
WRONG = {
    "too few": (np.ones(9), ValueError, r"has shape \(9,\); expected \({n},\), a number for each"),
    "a column": (np.ones((ROWS, 1)), ValueError, r"has shape \(60, 1\); expected \({n},\)"),
    "one number": (2.0, ValueError, r"has shape \(\); expected \({n},\)"),
    "negative": (np.where(np.arange(ROWS) == 7, -1e-9, 1), ValueError, "numbers that are negative"),
    "nan": (np.where(np.arange(ROWS) == 7, np.nan, 1), ValueError, "or not finite in float32"),
    "too large": (MANY * 1e39, ValueError, "or not finite in float32; expected finite numbers"),
    "zeros": (MANY * 0, ValueError, "gives every row the weight 0; expected a row that counts"),
    "vanishing": (MANY * 1e-60, ValueError, "gives every row the weight 0"),
    "complex": (MANY + 0j, TypeError, "is no array of numbers.*expected real numbers"),
    "names": (["a"] * ROWS, ValueError, "is no array of numbers"),
    "masked": (np.ma.ones(ROWS), TypeError, "MaskedArray; expected an array"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_by_name_before_anything_is_written(case):
    weights, error, message = WRONG[case]
    message = message.replace("{n}", str(ROWS))
    net = network()
    optimizer, kept = Adam(net.parameters()), bits(net)
    options = {"optimizer": optimizer, "validation": (*data(seed=1), weights)}
    with pytest.raises(error, match=f"^sample_weight of validation .*{message}"):
        train(net, **options)
    with pytest.raises(error, match=f"^sample_weight (?!of).*{message}"):
        train(net, optimizer=optimizer, sample_weight=weights)
    assert bits(net) == kept
    assert optimizer.steps == 0


def test_rows_of_a_class_that_weighs_nothing_are_no_rows():
    y = data()[1]
    net = network()
    with pytest.raises(ValueError, match="class_weight times sample_weight gives every row the w"):
        train(net, class_weight={0: 0.0}, sample_weight=(y == 0).astype(float))
    with pytest.raises(ValueError, match="or one that is not finite in float32"):
        train(net, class_weight={0: 1e30}, sample_weight=np.full(ROWS, 1e30))


@pytest.mark.parametrize("given", [(1, 2, 3, 4), 3, data()[0], (data()[0],)])
def test_validation_is_a_pair_or_a_triple(given):
    with pytest.raises(TypeError, match=r"validation is a.*expected \(x, y\), or \(x, y, sample_w"):
        train(validation=given)
    with pytest.raises(TypeError, match="data is a tuple; expected a pair"):
        train(pair=(*data(), MANY))
