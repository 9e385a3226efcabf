"""What `fit` can be asked for: schedules, class weights, augmentation, regression, two classes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from cases.training import KINDS, bits, data, network, train
from onepass.nets import (
    L2,
    SGD,
    Adam,
    Callback,
    Dense,
    Sequential,
    Sigmoid,
    SoftmaxCrossEntropy,
    predict,
)
from onepass.nets.training.given.class_weights import class_weights, row_weights
from programs import TESTS

# Kinds of problem


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_learned(kind):
    net = network(kind)
    options = {"optimizer": Adam(net.parameters(), lr=0.05), "epochs": 40}
    _, history = train(net, kind=kind, validation=data(kind, n=200, seed=1), **options)
    low = {"smoothed": 0.5, "counts": 0.5}.get(kind, 0.3)  # whose least loss is not 0
    assert history.loss[-1] < low * history.loss[0]
    if kind == "counts":
        assert history.val_mae[-1] < 0.5
    elif history.metric_name == "mae":
        assert history.val_mae[-1] < 0.2
    else:
        assert history.val_accuracy[-1] > 0.88


@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_the_losss_own_before_the_update(kind):
    net, (x, y) = network(kind, dtype="float64"), data(kind)
    output = net(x)
    expected = float(KINDS[kind](output, y)[0]), float(KINDS[kind].measure(output, y)) / 60
    still = SGD(net.parameters(), lr=0.0)
    _, history = train(net, (x, y), kind, optimizer=still, epochs=1, validation=(x, y))
    assert history.loss == [pytest.approx(expected[0], rel=1e-12)]
    assert history.metric == [pytest.approx(expected[1], rel=1e-12)]
    assert history.val_loss == [pytest.approx(expected[0], rel=1e-12)]
    assert history.val_metric == [pytest.approx(expected[1], rel=1e-12)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_regression_takes_flat_targets_of_any_number_type(dtype):
    x, y = data("numbers")
    found = []
    for targets in (y[:, 0], y[:, :1], y[:, 0].astype("float64").tolist()):
        net = Sequential(Dense(2, 1), dtype=dtype, device="cpu")
        train(net, (x, targets), "numbers")
        found.append(net.parameters().flat.tobytes())
    assert len(set(found)) == 1
    rounded = np.round(y[:, 0]).astype("int8")
    whole, real = (Sequential(Dense(2, 1), dtype=dtype, device="cpu") for _ in range(2))
    train(whole, (x, rounded), "numbers")
    train(real, (x, rounded.astype(dtype)), "numbers")
    assert bits(whole) == bits(real)


def test_linear_regression_finds_the_least_squares():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3))
    y = x @ [[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]] + 0.1 * rng.standard_normal((40, 2))
    net = Sequential(Dense(3, 2), dtype="float64", device="cpu")
    optimizer = SGD(net.parameters(), lr=0.3)
    train(net, (x, y), "numbers", optimizer=optimizer, epochs=400, batch_size=40)
    ones = np.concatenate([x, np.ones((40, 1))], axis=1)
    exact = np.linalg.lstsq(ones, y, rcond=None)[0]
    np.testing.assert_allclose(net.parameters()["0.weight"], exact[:3], atol=1e-9)
    np.testing.assert_allclose(net.parameters()["0.bias"], exact[3], atol=1e-9)


def test_large_targets_of_a_float16_network_stay_finite():
    """1e5 is beyond float16; the error is computed in float32."""
    net = Sequential(Dense(2, 1), dtype="float16", device="cpu")
    x = np.ones((4, 2))
    options = {"optimizer": SGD(net.parameters(), lr=0.0), "epochs": 1}
    _, history = train(net, (x, np.full(4, 1e5)), "numbers", **options)
    assert history.mae[0] == pytest.approx(1e5, rel=1e-4)


# Schedules


def test_the_schedule_is_asked_before_each_update():
    asked, rates = [], []

    def schedule(epoch, step):
        asked.append((epoch, step))
        return 0.1 / step

    class Sees(Callback):
        def on_batch(self, run):
            rates.append(run.optimizer.lr)
            assert run.schedule is schedule

    _, history = train(schedule=schedule, callbacks=[Sees()], epochs=2, batch_size=25)
    assert asked == [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (1, 6)]
    assert rates == [0.1 / step for step in range(1, 7)]
    assert history.lr == [rates[2], rates[5]]


def test_a_schedule_trains_as_if_each_rate_had_been_set():
    by_hand = network()
    optimizer = SGD(by_hand.parameters())

    class Sets(Callback):
        def on_start(self, run):
            optimizer.lr = 0.5

        def on_epoch(self, run):
            optimizer.lr = 0.5 / (1 + run.epoch)

    train(by_hand, optimizer=optimizer, callbacks=[Sets()])
    net, _ = train(schedule=lambda epoch, step: 0.5 / (1 + epoch))
    assert bits(net) == bits(by_hand)


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (0.1, TypeError, "schedule is 0.1; expected a function, or None"),
        (lambda epoch, step: -1, ValueError, r"schedule\(0, 1\): lr is -1; expected a finite"),
        (lambda epoch, step: "0.1", TypeError, r"schedule\(0, 1\): lr is '0.1'"),
    ],
)
def test_a_schedule_that_is_none_is_refused_before_anything_is_written(schedule, error, message):
    net = network()
    kept = bits(net)
    with pytest.raises(error, match=message):
        train(net, schedule=schedule)
    assert bits(net) == kept


def test_the_progress_bar_shows_the_rate_of_a_schedule_only(capsys):
    net = network("numbers")
    options = {"kind": "numbers", "progress": True, "validation": data("numbers", n=15)}
    _, history = train(net, **options, schedule=lambda epoch, step: 0.025)
    shown = capsys.readouterr().out
    for words in ("lr 0.025", f"mae {history.mae[-1]:.4g}", f"held-out {history.val_mae[-1]:.4g}",
                  f"loss {history.loss[-1]:.4f}", " samples/s"):  # fmt: skip
        assert words in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    train(net, **options)
    assert "lr" not in capsys.readouterr().out


# Class weights

LABELS = np.array([0, 0, 0, 0, 0, 2, 2, 1])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({0: 1.0, 1: 3.0, 2: 0.5}, [1, 1, 1, 1, 1, 0.5, 0.5, 3]),
        ({2: 4}, [1, 1, 1, 1, 1, 4, 4, 1]),
        ([1.0, 3.0, 0.5], [1, 1, 1, 1, 1, 0.5, 0.5, 3]),
        (np.array([0, 1, 2]), [0, 0, 0, 0, 0, 2, 2, 1]),
    ],
)
def test_the_weight_of_each_row(given, expected):
    found = class_weights(given, LABELS, 3)
    assert row_weights(found, LABELS, "data").tolist() == expected
    assert class_weights(None, LABELS, 3) is None


@pytest.mark.parametrize("labels", [LABELS, np.array([5, 5, 1]), np.array([1, 1])])
def test_balanced_is_scikit_learns(labels):
    sklearn = pytest.importorskip("sklearn.utils.class_weight", reason="needs scikit-learn")
    present = np.unique(labels)
    theirs = sklearn.compute_class_weight("balanced", classes=present, y=labels)
    found = row_weights(class_weights("balanced", labels, 6), labels, "data")
    np.testing.assert_array_equal(found, theirs[np.searchsorted(present, labels)])
    assert found.mean() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["classes", "two"])
def test_weights_count_rows_as_often(kind):
    """A class of weight 2 trains as if each of its rows were there twice, in one batch of all."""
    x, y = data(kind)
    again = np.flatnonzero(y == 1)
    twice = np.concatenate([x, x[again]]), np.concatenate([y, y[again]])
    share = len(twice[0]) / len(x)  # both are means, over other numbers of rows
    nets = [network(kind, dtype="float64") for _ in range(2)]
    options = {"epochs": 5, "batch_size": 1000}
    optimizer = SGD(nets[0].parameters(), lr=0.1)
    _, weighted = train(
        nets[0], (x, y), kind, optimizer=optimizer, class_weight={1: 2.0}, **options
    )
    optimizer = SGD(nets[1].parameters(), lr=0.1 * share)
    _, repeated = train(nets[1], twice, kind, optimizer=optimizer, **options)
    np.testing.assert_allclose(*[net.parameters().flat for net in nets], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(weighted.loss, np.multiply(repeated.loss, share), rtol=1e-12)


def test_balanced_weights_find_a_rare_class():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 2)) + 1.5 * (np.arange(600) < 30)[:, None]
    y = (np.arange(600) < 30).astype(int)
    found = []
    for class_weight in (None, "balanced"):
        net = Sequential(Dense(2, 1), device="cpu")
        train(net, (x, y), "two", class_weight=class_weight, epochs=30)
        found.append(predict(net, x)[:30].mean())
    assert found[1] > 0.8 > found[0] + 0.2


def loss_by_hand(z, y, weights):
    """The weighted loss as its formula has it, a row after the other."""
    if z.shape[1] == 1:
        z = np.hstack([np.zeros_like(z), z])
    terms = [
        w * (np.log(np.exp(row).sum()) - row[k]) for row, k, w in zip(z, y, weights, strict=True)
    ]
    return sum(terms) / len(terms)


@pytest.mark.parametrize("kind", ["classes", "two"])
@pytest.mark.parametrize("given", ["balanced", {1: 4.0}])
def test_the_validation_loss_is_weighted_as_the_training_loss_is(kind, given):
    """Also in more than one batch; "balanced" goes by the classes of the training set."""
    net, (x, y) = network(kind, dtype="float64"), data(kind)
    held_x, held_y = data(kind, n=1500, seed=1)
    held_y = np.where(np.arange(1500) % 3, held_y, 1)  # other shares of the classes
    counts = np.bincount(y)
    by_class = len(y) / (len(counts) * counts) if given == "balanced" else np.ones(len(counts))
    by_class[1] = by_class[1] if given == "balanced" else 4.0
    still = SGD(net.parameters(), lr=0.0)
    options = {"epochs": 1, "validation": (held_x, held_y), "class_weight": given}
    _, history = train(net, (x, y), kind, optimizer=still, **options)
    expected = loss_by_hand(net(x), y, by_class[y])
    assert history.loss == [pytest.approx(expected, rel=1e-12)]
    expected = loss_by_hand(net(held_x), held_y, by_class[held_y])
    assert history.val_loss == [pytest.approx(expected, rel=1e-12)]


def test_a_metric_is_not_weighted():
    net, pair = network("two", dtype="float64"), data("two")
    share = float(KINDS["two"].measure(net(pair[0]), pair[1])) / 60
    still = SGD(net.parameters(), lr=0.0)
    options = {"epochs": 1, "validation": pair, "optimizer": still, "class_weight": [3.0, 5.0]}
    _, history = train(net, pair, "two", **options)
    assert history.accuracy[0] == history.val_accuracy[0] == pytest.approx(share)


def test_a_class_that_training_lacks_weighs_1_in_validation():
    (x, y), held_out = data(), data(n=30, seed=1)
    without = y != 2
    net = network(dtype="float64")
    still = SGD(net.parameters(), lr=0.0)
    options = {"epochs": 1, "validation": held_out, "class_weight": "balanced"}
    _, history = train(net, (x[without], y[without]), optimizer=still, **options)
    counts = np.bincount(y[without])
    weights = np.append(without.sum() / (2 * counts), 1.0)[held_out[1]]
    expected = loss_by_hand(net(held_out[0]), held_out[1], weights)
    assert history.val_loss == [pytest.approx(expected, rel=1e-12)]


@pytest.mark.parametrize(
    ("kind", "labels", "given", "message"),
    [
        ("two", [0, 0, 0], {0: 0.0}, "gives every row of validation the weight 0"),
        ("classes", [2, 2, 2], [1.0, 1.0, 0.0], "gives every row of validation the weight 0"),
        ("two", [0.2, 0.9, 1.0], "balanced", "y of validation holds numbers between the classes"),
    ],
)
def test_validation_that_weights_do_not_fit_is_refused_before_training(
    kind, labels, given, message
):
    net = network(kind)
    kept = bits(net)
    with pytest.raises(ValueError, match=message):
        train(net, kind=kind, class_weight=given, validation=(data(n=3)[0], np.array(labels)))
    assert bits(net) == kept


@pytest.mark.parametrize(
    ("kind", "given", "error", "message"),
    [
        ("two", "even", ValueError, "class_weight is 'even'; expected 'balanced'"),
        ("two", {2: 1.0}, ValueError, r"names the class 2; expected some of 0\.\.1"),
        ("two", {"yes": 1.0}, ValueError, r"names the class 'yes'; expected some of 0\.\.1"),
        ("classes", [1.0, 2.0], ValueError, r"has shape \(2,\); expected \(3,\)"),
        ("two", [1.0, -2.0], ValueError, "expected finite numbers >= 0"),
        ("two", {1: np.nan}, ValueError, "expected finite numbers >= 0"),
        ("two", {1: 1e39}, ValueError, "expected finite numbers >= 0, as float32 holds them"),
        ("two", [1e-60, 1e-60], ValueError, "gives every row of data the weight 0"),
        ("two", {0: [1.0, 2.0]}, TypeError, "expected None, 'balanced', a dict such as"),
        ("two", [0.0, 0.0], ValueError, "gives every row of data the weight 0"),
        ("two", object(), TypeError, "expected None, 'balanced', a dict such as"),
        ("numbers", "balanced", ValueError, r"MeanSquaredError\(\) sees no classes in y"),
    ],
)
def test_class_weights_are_refused_before_anything_is_written(kind, given, error, message):
    net = network(kind)
    kept = bits(net)
    with pytest.raises(error, match=message):
        train(net, kind=kind, class_weight=given)
    assert bits(net) == kept


def test_soft_labels_have_no_classes():
    x, y = data("two")
    train(pair=(x, 0.1 + 0.8 * y), kind="two")
    with pytest.raises(ValueError, match="sees no classes in y"):
        train(pair=(x, 0.1 + 0.8 * y), kind="two", class_weight="balanced")


# Augmentation


def test_only_training_batches_are_augmented_and_the_data_stays():
    x, y = data()
    kept = x.copy()
    seen = []

    def augment(rows, rng):
        seen.append(rows.shape)
        assert isinstance(rng, np.random.Generator)
        rows[:] = 5.0  # a copy: it may be written
        return rows

    net = network()
    expected = float(KINDS["classes"](net(x), y)[0])
    still = SGD(net.parameters(), lr=0.0)
    _, history = train(
        net, (x, y), augment=augment, optimizer=still, epochs=1, batch_size=25, validation=(x, y)
    )
    assert seen == [(25, 2), (25, 2), (10, 2)]
    np.testing.assert_array_equal(x, kept)
    assert history.val_loss[0] == pytest.approx(expected, rel=1e-6)
    assert history.loss[0] != pytest.approx(expected, rel=1e-2)


def test_an_augmentation_that_changes_nothing_trains_the_same():
    assert bits(train(augment=lambda x, rng: x)[0]) == bits(train()[0])


@pytest.mark.parametrize("augment", [lambda x, rng: x[1:], lambda x, rng: x[:0], lambda x, rng: 0])
def test_an_augmentation_of_another_shape_is_refused(augment):
    net = network()
    kept = bits(net)
    with pytest.raises(ValueError, match=r"augment returned .*expected .* was given, \(16, 2\)"):
        train(net, augment=augment)
    assert bits(net) == kept


# Repeating


def test_a_run_repeats_to_the_last_bit_with_everything_on():
    def once(seed):
        options = {
            "augment": lambda x, rng: x + rng.normal(0, 0.1, x.shape),
            "schedule": lambda epoch, step: 0.1 / (1 + epoch),
            "regularizer": L2(0.1),
            "class_weight": "balanced",
        }
        return bits(train(kind="two", seed=seed, **options)[0])

    assert once(1) == once(1)
    assert once(1) != once(2)


@pytest.mark.slow
def test_a_run_repeats_in_another_process():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from cases.training import bits, train\n"
        "print(hash(tuple(bits(train()[0]).values())))"
    )
    command = [sys.executable, "-c", code, str(TESTS)]
    env = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    found = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
        for _ in range(2)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", KINDS)
def test_each_device_follows_the_cpu(reference, kind):
    figures = []
    for device in ("cpu", reference.device):
        net = network(kind, dtype="float64", device=device)
        weight = {"class_weight": [1.0, 2.0]} if kind == "two" else {}
        _, history = train(
            net, kind=kind, validation=data(kind, n=15), regularizer=L2(0.1), **weight
        )
        figures.append([history.loss, history.metric, history.val_loss, history.val_metric])
    np.testing.assert_allclose(*figures, rtol=1e-8, atol=1e-10)


# Bad input


def refused():
    x, y = data("two", n=12)
    for kind in ("classes", "two"):
        yield kind, (x, y * 0), {}, ValueError, "y of data holds the class 0 only, 12 times"
    numbers = data("numbers", n=12)[1]
    numbers[3, 1] = np.nan
    yield "numbers", (x, numbers), {}, ValueError, "y of data: targets hold values that are not fin"
    numbers = np.full((12, 2), 1e300)
    yield "numbers", (x, numbers), {}, ValueError, "y of data holds .* too large for float32"
    yield (
        "numbers",
        (x, numbers[:, :1]),
        {},
        ValueError,
        r"have shape \(12, 1\); expected \(12, 2\)",
    )
    yield "two", (x, y + 1), {}, ValueError, "y of data: labels hold 2; expected 0 and 1"
    words = "labels hold 3; expected 0..2 for 3 logits.*give the last layer an output for each"
    yield "classes", (x, y + 2), {}, ValueError, words
    many = Sequential(Dense(2, 2), device="cpu")
    yield "two", (x, y), {"net": many}, ValueError, "the network has 2 outputs a row; expected 1"
    yield "classes", x, {}, TypeError, r"data is a ndarray; expected a pair of arrays \(x, y\)"
    yield "classes", (x, y, y), {}, TypeError, "data is a tuple; expected a pair"
    yield "classes", (x.astype("float64") * 1e300, y), {}, ValueError, "too large for float32"
    words = r"loss is <class .*; expected an instance such as SoftmaxCrossEntropy\(\)"
    yield "classes", (x, y), {"loss": SoftmaxCrossEntropy}, TypeError, words
    yield "classes", (x, y), {"augment": "flip"}, TypeError, "augment is 'flip'; expected a funct"
    for last in (Sigmoid(), type("Softmax", (Sigmoid,), {})()):
        net = Sequential(Dense(2, 1), last, device="cpu")
        words = r"last layer is .*, but BinaryCrossEntropy\(\) takes logits and applies sigmoid its"
        yield "two", (x, y), {"net": net}, ValueError, words
    held_out = x, y * 0 + 7
    yield "classes", (x, y), {"validation": held_out}, ValueError, "y of validation: labels hold 7"


@pytest.mark.parametrize(("kind", "pair", "options", "error", "message"), list(refused()))
def test_bad_input_is_refused_before_anything_is_written(kind, pair, options, error, message):
    net = options.pop("net", None) or network(kind)
    kept = bits(net)
    with pytest.raises(error, match=message):
        train(net, pair, kind, **options)
    assert bits(net) == kept


def test_one_class_in_the_validation_data_and_one_row_are_fine():
    x, y = data("two")
    train(pair=(x, y), kind="two", validation=(x[:9], y[:9] * 0))
    train(pair=(x[:1], y[:1]), kind="two")


def test_constant_features_train():
    x, y = data("two")
    x[:, 1] = 3.0
    _, history = train(pair=(x, y), kind="two", epochs=5)
    assert history.loss[-1] < history.loss[0]
