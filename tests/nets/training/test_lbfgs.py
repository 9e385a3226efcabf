"""L-BFGS finds what SciPy finds on the formula, and scikit-learn from the same start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from cases.training import KINDS, WIDTHS, bits, data, network
from onepass.nets import (
    L1,
    L2,
    BatchNorm,
    Dense,
    Dropout,
    History,
    Layer,
    MeanSquaredError,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    accuracy,
    fit_lbfgs,
)
from onepass.nets.network.prediction import evaluate
from onepass.nets.training import lbfgs
from oracles.losses import (
    binary_cross_entropy,
    huber,
    mean_squared_error,
    poisson,
    softmax_cross_entropy,
)
from programs import PYTHONPATH

optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")

ORACLES = {
    "classes": softmax_cross_entropy,
    "two": binary_cross_entropy,
    "numbers": mean_squared_error,
    "labels": binary_cross_entropy,
    "outliers": huber(0.5),
    "counts": poisson,
}
WEIGHTS = np.random.default_rng(3).uniform(0, 3, 60)
OWN = {"max_iter": 15, "tol": 0.0}


def noisy(kind="classes"):
    """Data that no network of this size learns by heart, so that the minimum is a finite place."""
    x, y = data(kind)
    rng = np.random.default_rng(5)
    if kind in ("numbers", "outliers"):
        return x, y + rng.standard_normal(y.shape)
    if kind == "counts":
        return x, y + rng.integers(0, 3, y.shape)
    return x, np.where(rng.random(y.shape) < 0.3, (y + 1) % (3 if kind == "classes" else 2), y)


def by_formula(vector, kind, pair, weights, lam):
    """J and its gradient of network(kind), a layer after the other, in float64."""
    x, y = pair
    x = x.astype("float64")
    width = WIDTHS[kind]
    sizes = np.cumsum([2 * 8, 8, 8 * width, width])
    w1, b1, w2, b2 = np.split(vector, sizes[:-1])
    w1, w2 = w1.reshape(2, 8), w2.reshape(8, width)
    hidden = np.tanh(x @ w1 + b1)
    J, dz = ORACLES[kind](hidden @ w2 + b2, y[:, None] if kind == "two" else y, weights)
    dh = dz @ w2.T * (1 - hidden**2)
    penalty = lam / (2 * len(x)) * ((w1**2).sum() + (w2**2).sum())
    parts = x.T @ dh + lam / len(x) * w1, dh.sum(0), hidden.T @ dz + lam / len(x) * w2, dz.sum(0)
    return J + penalty, np.concatenate([part.ravel() for part in parts])


@pytest.mark.parametrize("lam", [0.0, 0.5])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("kind", ORACLES)
def test_it_goes_scipys_way_on_the_formula(kind, weights, lam):
    """The first 15 iterations, one after the other; later ones magnify how sums are rounded."""
    net, pair, curve = network(kind, dtype="float64"), noisy(kind), []

    def keep(intermediate_result):
        curve.append(intermediate_result.fun)

    start = net.parameters().flat.copy()
    theirs = optimize.minimize(
        by_formula, start, (kind, pair, weights, lam), method="L-BFGS-B", jac=True, callback=keep,
        options={"maxfun": 15000, "maxiter": 15, "gtol": 0.0},
    )  # fmt: skip
    options = {"regularizer": L2(lam), "sample_weight": weights, **OWN}
    history = fit_lbfgs(net, pair, loss=KINDS[kind], **options)
    np.testing.assert_allclose(history.loss, curve, rtol=1e-9)
    np.testing.assert_allclose(net.parameters().flat, theirs.x, rtol=1e-6, atol=1e-8)
    assert history.stopped == theirs.message != "converged"
    assert history.path == "L-BFGS"
    assert len(history.seconds) == len(history.metric) == history.epochs == 15
    assert history.lr == history.val_loss == []
    ours = evaluate(net, pair[0].astype("f8"), pair[1], KINDS[kind], weights)
    assert history.metric[-1] == pytest.approx(ours[1], rel=1e-12)
    assert history.figures().keys() == {"loss", history.metric_name, "seconds"}


# scikit-learn


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["classes", "two", "one number"])
def test_it_ends_where_scikit_learn_ends(kind, weighted):
    """Its squared errors are halves of ours; its penalty is over the sum of the weights, here n."""
    networks = pytest.importorskip("sklearn.neural_network", reason="needs scikit-learn")
    x, y = noisy("numbers" if kind == "one number" else kind)
    x, y = x.astype("float64"), y[:, 0] if kind == "one number" else y
    made = networks.MLPRegressor if kind == "one number" else networks.MLPClassifier
    loss = KINDS["numbers" if kind == "one number" else kind]
    net = Sequential(
        Dense(2, 12, activation="tanh"), Dense(12, 3 if kind == "classes" else 1),
        seed=4, dtype="float64", device="cpu",
    )  # fmt: skip
    start = iter([each.copy() for each in net.parameters().values()])

    class FromThere(made):
        def _init_coef(self, fan_in, fan_out, dtype):
            return next(start), next(start)

    own = {"sample_weight": WEIGHTS * 60 / WEIGHTS.sum()} if weighted else {}
    factor = 2 if kind == "one number" else 1
    theirs = FromThere(
        hidden_layer_sizes=(12,),
        activation="tanh",
        solver="lbfgs",
        alpha=2.0,
        tol=1e-6,
        max_iter=999,
    )
    theirs.fit(x, y, **own)
    options = {"tol": 1e-6 * factor, "max_iter": 999, "regularizer": L2(2.0 * factor)}
    history = fit_lbfgs(net, (x, y), loss=loss, **options, **own)
    assert history.stopped == "converged"
    assert history.loss[-1] == pytest.approx(factor * theirs.loss_, rel=1e-7)
    assert abs(history.epochs - theirs.n_iter_) <= 0.2 * theirs.n_iter_


# Data, dtypes and devices


@pytest.mark.parametrize("kind", ORACLES)
def test_parts_add_up_to_the_whole(kind, monkeypatch):
    found = []
    for rows in (4096, 7):
        monkeypatch.setattr(lbfgs, "ROWS", rows)
        net = network(kind, dtype="float64")
        options = {"sample_weight": WEIGHTS, "regularizer": [L2(0.3), L1(0.01)], **OWN}
        history = fit_lbfgs(net, noisy(kind), loss=KINDS[kind], **options)
        found.append([*net.parameters().flat, *history.loss, *history.metric])
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rows", [4096, 7])
def test_sparse_is_the_array(rows, monkeypatch):
    monkeypatch.setattr(lbfgs, "ROWS", rows)
    rng, found = np.random.default_rng(0), []
    x = np.where(rng.random((60, 30)) < 0.1, rng.standard_normal((60, 30)), 0)
    for given in (x, sparse.csr_array(x), sparse.coo_matrix(x)):
        net = Sequential(Dense(30, 8), Tanh(), Dense(8, 3), dtype="float64", device="cpu")
        pair = given, noisy()[1]
        history = fit_lbfgs(net, pair, loss=KINDS["classes"], regularizer=L2(1.0), **OWN)
        found.append([*net.parameters().flat, *history.loss])
    for each in found[1:]:
        np.testing.assert_allclose(each, found[0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_network_of_each_dtype_learns(dtype):
    net = network(dtype=dtype)
    history = fit_lbfgs(net, data(), loss=KINDS["classes"], regularizer=L2(0.01))
    assert history.loss == sorted(history.loss, reverse=True)
    assert history.loss[-1] < 0.2 < 0.5 < history.loss[0]
    assert accuracy(net, *data()) > 0.97
    assert net.parameters().dtype == dtype


def test_on_each_device_as_on_the_cpu(reference):
    found = []
    for device in ("cpu", reference.device):
        net = network(dtype="float64", device=device)
        history = fit_lbfgs(net, noisy(), loss=KINDS["classes"], class_weight="balanced", **OWN)
        found.append([*net.state_dict()["0.weight"].ravel(), *history.loss, *history.metric])
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-8)


def test_class_weights_are_those_of_fit():
    found, by_class = [], np.array([1.0, 5.0, 0.5])
    for options in ({"class_weight": [1.0, 5.0, 0.5]}, {"sample_weight": by_class[noisy()[1]]}):
        net = network(dtype="float64")
        fit_lbfgs(net, noisy(), loss=KINDS["classes"], **OWN, **options)
        found.append(net.parameters().flat)
    np.testing.assert_array_equal(*found)


def test_batch_norm_sees_all_rows_and_its_statistics_are_those_of_the_last_iteration(monkeypatch):
    monkeypatch.setattr(lbfgs, "ROWS", 7)
    sizes = []

    class Sees(Layer):
        def forward(self, x, train=False):
            sizes.append(len(x))
            return x

        def backward(self, dy, input_grad=True):
            return dy

    layers = Sees(), Dense(2, 8, bias=False), BatchNorm(8), ReLU(), Dense(8, 3)
    net = Sequential(*layers, dtype="float64", device="cpu")
    history = fit_lbfgs(net, noisy(), loss=KINDS["classes"], regularizer=L2(1.0), max_iter=100)
    assert set(sizes) == {60}
    assert history.loss[-1] < history.loss[0]
    before = {name: value.copy() for name, value in net.buffers().items()}
    net.forward(noisy()[0], train=True)
    for name, value in net.buffers().items():
        np.testing.assert_allclose(value, before[name], rtol=0.1, atol=0.1)


# How it ends


def test_it_converges_and_a_start_that_has_converged_is_left_as_it_is():
    net = network(dtype="float64")
    options = {"loss": KINDS["classes"], "regularizer": L2(1.0), "max_iter": 1000}
    first = fit_lbfgs(net, noisy(), **options)
    assert first.stopped == "converged"
    kept, before = bits(net), first.loss.copy()
    again = fit_lbfgs(net, noisy(), tol=1e-3, history=first, **options)
    assert (again.stopped, again.epochs) == ("converged", first.epochs)
    assert bits(net) == kept
    assert first.loss == before
    assert fit_lbfgs(net, noisy(), tol=1e-3, **options).loss == []


def test_figures_of_an_earlier_run_come_first_and_stay():
    whole, halves = network(dtype="float64"), network(dtype="float64")
    options = {"loss": KINDS["classes"], "tol": 0.0}
    fit_lbfgs(whole, noisy(), max_iter=3, **options)
    first = fit_lbfgs(halves, noisy(), max_iter=3, **options)
    second = fit_lbfgs(halves, noisy(), max_iter=2, history=first, **options)
    assert (first.epochs, second.epochs) == (3, 5)
    assert second.loss[:3] == first.loss
    assert second.loss[3] < second.loss[2]


@pytest.mark.parametrize(
    ("options", "message"), [({"max_iter": 3}, "ITERATIONS"), ({"max_fun": 2}, "EVALUATIONS")]
)
def test_what_ends_too_soon_says_so_in_scipys_words(options, message):
    history = fit_lbfgs(network(), noisy(), loss=KINDS["classes"], tol=0.0, **options)
    assert message in history.stopped
    assert 1 <= history.epochs <= 3


class Interrupts(Layer):
    """Sends SIGINT, or raises, in the pass of that number."""

    def __init__(self, at, act):
        self.at, self.act, self.passes = at, act, 0

    def forward(self, x, train=False):
        self.passes += train
        if self.passes == self.at:
            self.act()
        return x

    def backward(self, dy, input_grad=True):
        return dy


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def beginning(iterations, at=0, act=interrupt):
    """(network, its history) after so many iterations, or what `act` makes of the pass `at`."""
    layers = Interrupts(at, act), Dense(2, 8), Tanh(), Dense(8, 3)
    net = Sequential(*layers, dtype="float64", device="cpu", seed=2)
    options = {"loss": KINDS["classes"], "max_iter": iterations, "tol": 0.0}
    return net, fit_lbfgs(net, noisy(), **options)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
@pytest.mark.parametrize("at", [1, 2, 9])
def test_ctrl_c_leaves_the_last_iteration(at):
    net, history = beginning(100, at)
    assert history.stopped == "interrupted"
    assert net.layers[0].passes == at, "the pass is done to its end, and none comes after it"
    if history.epochs:
        expected, _ = beginning(history.epochs)
        assert bits(net) == bits(expected)
    assert (at > 1) == bool(history.epochs)


def test_an_error_or_a_second_ctrl_c_leaves_the_last_iteration_too():
    def fail():
        raise KeyboardInterrupt

    made = []
    init = Sequential.__init__

    class Kept(Sequential):
        def __init__(self, *layers, **options):
            init(self, *layers, **options)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "Sequential", Kept)
        with pytest.raises(KeyboardInterrupt):
            beginning(100, at=9, act=fail)
    net = made[0]
    found = []
    for iterations in range(1, 9):
        expected, _ = beginning(iterations)
        found.append(bits(expected) == bits(net))
    assert any(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_that_is_not_finite_names_the_iteration_and_the_layer(dtype):
    class Explodes(Layer):
        passes = 0

        def forward(self, x, train=False):
            self.passes += train
            return x * np.asarray(np.inf if self.passes >= 9 else 1, x.dtype)

        def backward(self, dy, input_grad=True):
            return dy

    net = Sequential(Dense(2, 8), Tanh(), Explodes(), Dense(8, 3), dtype=dtype, device="cpu")
    message = r"the loss is nan in iteration \d+: layer 2 Explodes\(\) went wrong first: its output"
    with pytest.raises(FloatingPointError, match=message):
        fit_lbfgs(net, noisy(), loss=KINDS["classes"], tol=0.0)
    assert np.isfinite(net.parameters().flat).all()
    net = Sequential(Dense(2, 2), dtype=dtype, device="cpu")
    x, y = data("numbers")
    largest = float(np.sqrt(np.finfo(dtype).max)) * 100
    with pytest.raises(FloatingPointError, match=r"the loss is inf in iteration 1: .* around 1"):
        fit_lbfgs(net, (x, largest * y.astype("f8")), loss=KINDS["numbers"])


def test_the_bar_counts_iterations(capsys):
    pytest.importorskip("rich", reason="the bar is rich's")
    fit_lbfgs(network(), noisy(), loss=KINDS["classes"], max_iter=3, tol=0.0, progress=True)
    assert "3/3" in capsys.readouterr().out
    fit_lbfgs(network(), noisy(), loss=KINDS["classes"], max_iter=3, tol=0.0)
    assert capsys.readouterr().out == ""


# Mistakes

X, Y = noisy()
REFUSED = {
    "no loss": ({"loss": "softmax"}, TypeError, "loss is 'softmax'"),
    "max_iter": ({"max_iter": 0}, ValueError, "max_iter is 0"),
    "max_fun": ({"max_fun": 2.5}, TypeError, "max_fun is 2.5"),
    "tol": ({"tol": -1.0}, ValueError, "tol is -1.0"),
    "regularizer": ({"regularizer": 0.1}, TypeError, "regularizer is 0.1"),
    "weights": ({"sample_weight": -np.ones(60)}, ValueError, "sample_weight holds numbers that"),
    "classes": ({"class_weight": "even"}, ValueError, "class_weight is 'even'"),
    "history": ({"history": [1.0]}, TypeError, r"history is \[1.0\]; expected a History, or None"),
    "history of fit": (
        {"history": History(loss=[1.0], metric=[1.0], seconds=[1.0], lr=[0.1])},
        ValueError,
        "with learning rates or figures of validation data",
    ),
    "metric": ({"history": History(metric_name="mae")}, ValueError, "history has the metric 'mae'"),
    "data": ({"data": (X, Y, Y)}, TypeError, "data is a tuple; expected a pair"),
    "labels": ({"data": (X, Y + 5)}, ValueError, "y of data: labels hold"),
    "nan": ({"data": (X * np.nan, Y)}, ValueError, "x of data holds values that are not finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_before_anything_is_written(case):
    options, error, message = REFUSED[case]
    net = network()
    kept = bits(net)
    with pytest.raises(error, match=message):
        fit_lbfgs(net, **{"data": (X, Y), "loss": KINDS["classes"], **options})
    assert bits(net) == kept


def test_networks_it_can_not_train():
    net = Sequential(Dense(2, 8), Dropout(0.5), Dense(8, 3), device="cpu")
    with pytest.raises(ValueError, match=r"layer 1 Dropout\(.*\) draws random numbers in training"):
        fit_lbfgs(net, (X, Y), loss=SoftmaxCrossEntropy())
    with pytest.raises(ValueError, match=r"without parameters; expected a layer such as Dense"):
        fit_lbfgs(Sequential(ReLU(), device="cpu"), (X, X), loss=MeanSquaredError())


def test_without_scipy_it_says_what_to_install():
    program = (
        "import sys\n"
        "from onepass.nets import Dense, MeanSquaredError, Sequential, fit_lbfgs\n"
        "sys.modules['scipy'] = sys.modules['scipy.optimize'] = None\n"
        "net = Sequential(Dense(1, 1), device='cpu')\n"
        "try:\n"
        "    fit_lbfgs(net, ([[1.0]], [1.0]), loss=MeanSquaredError())\n"
        "except ImportError as error:\n"
        "    assert 'pip install \"onepass[sklearn]\"' in str(error), error\n"
        "    print('told')\n"
    )
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert found.stdout == "told\n"
