"""What a network says of many rows goes through a program, and is what its layers say."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading

import numpy as np
import pytest
from cases.training import KINDS, OF_CLASSES, WIDTHS, targets_of
from onepass.backend.numpy_backend import NumpyBackend
from onepass.nets import (
    SGD,
    BatchNorm,
    Dense,
    Dropout,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    Linear,
    ReLU,
    RMSNorm,
    Sequential,
    Sigmoid,
    Softmax,
    SoftmaxCrossEntropy,
    Tanh,
    accuracy,
    fit,
    outputs,
    predict,
    predict_proba,
)
from onepass.nets.network import captured_forward, prediction
from onepass.nets.network.captured_forward import KEPT, LEAST, MOST, ROWS, CapturedForward
from onepass.nets.network.prediction import evaluate
from tolerances import LOSS_LIMIT, PRODUCT_LIMIT, assert_close

PATIENCE = 60  # seconds after which a test that hangs is given up
COUNTS = (LEAST, LEAST + 1, 3 * ROWS - 1, 3 * ROWS + 100)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture
def ran(monkeypatch):
    """Rows of each batch that went through a program, a number for each run."""
    seen, run = [], CapturedForward.run

    def noted(self, net, given, out):
        seen.append((self._rows, len(given[0])))
        return run(self, net, given, out)

    monkeypatch.setattr(CapturedForward, "run", noted)
    return seen


def assert_all_ran(ran, n, most=ROWS):
    """n rows did, in batches of at most so many, and of one size but for what was left."""
    assert sum(each[1] for each in ran) == n
    assert len(ran) == 1 + (n % ran[0][0] > 0)
    size = ran[0][0]
    assert min(most, n) / 3 < size <= most
    assert ran[1:] in ([], [(n % size, n % size)])


def network(*layers, dtype="float32", seed=0, kind="classes"):
    """With running statistics, gammas and biases that are not what they start as."""
    layers = layers or (
        Dense(5, 12, bias=False), BatchNorm(12, activation="relu"), Dropout(0.5),
        Dense(12, 9, activation="tanh"), LeakyReLU(0.1), Dense(9, WIDTHS[kind]),
    )  # fmt: skip
    net = Sequential(*layers, seed=seed, dtype=dtype, device="cpu")
    rng = np.random.default_rng(seed)
    state = net.state_dict()
    for value in state.values():
        value[...] += rng.uniform(0.1, 0.5, value.shape)
    net.load_state_dict(state)
    return net


def rows(n=LEAST + 100, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal((n, 5)).astype(dtype)


def targets(kind, n, seed=1):
    rng = np.random.default_rng(seed)
    if kind not in OF_CLASSES:
        return targets_of(kind, rng.standard_normal((n, 2)).astype("float32"))
    return rng.integers(0, max(2, WIDTHS[kind]), n)


def close(found, expected):
    """As near as two orders of the sums are."""
    dtype = expected.dtype.name
    scale = max(1.0, np.abs(expected).max())
    assert_close(found, expected, dtype, limit=8 * PRODUCT_LIMIT, scale=scale, what="outputs")


# --- outputs --------------------------------------------------------------------------------------
@each_dtype
@pytest.mark.parametrize("n", COUNTS)
def test_outputs_are_those_of_the_layers(ran, n, dtype):
    net, x = network(dtype=dtype), rows(n, dtype)
    found = outputs(net, x)
    close(found, net(x))
    assert_all_ran(ran, n)
    assert type(found) is np.ndarray
    assert found.flags.owndata
    assert found.flags.writeable


NETWORKS = {
    "dense": lambda: (Dense(5, 3),),
    "dense without bias": lambda: (Dense(5, 3, bias=False),),
    "wider": lambda: (Dense(5, 7), Dense(7, 9), Dense(9, 30)),
    "narrower": lambda: (Dense(5, 40, activation="sigmoid"), Dense(40, 2), Dense(2, 1)),
    "up and down": lambda: (Dense(5, 40), Dense(40, 3), Dense(3, 40), Dense(40, 3), Dense(3, 9)),
    "relu": lambda: (Dense(5, 3), ReLU()),
    "leaky relu": lambda: (LeakyReLU(0.3), Dense(5, 3)),
    "sigmoid": lambda: (Sigmoid(), Dense(5, 3), Sigmoid()),
    "tanh": lambda: (Tanh(), Tanh(), Dense(5, 3), Tanh()),
    "linear": lambda: (Linear(), Dense(5, 3), Linear()),
    "batch norm": lambda: (BatchNorm(5), Dense(5, 3), BatchNorm(3, activation="relu")),
    "batch norm of a cumulative average": lambda: (Dense(5, 3), BatchNorm(3, momentum=None)),
    "batch norm by running averages": lambda: (BatchNorm(5, use_running_average=True), Dense(5, 3)),
    "layer norm": lambda: (LayerNorm(5), Dense(5, 3), LayerNorm(3, activation="gelu")),
    "layer norm without beta": lambda: (Dense(5, 3), LayerNorm(3, bias=False)),
    "rms norm": lambda: (RMSNorm(5, activation="silu"), Dense(5, 3), RMSNorm(3, affine=False)),
    "group norm": lambda: (Dense(5, 6), GroupNorm(2, 6, activation="relu"), GroupNorm(1, 6)),
    "dropout is the identity": lambda: (Dropout(0.1), Dense(5, 3), Dropout(0.1), Dropout(0.2)),
    "dropout alone": lambda: (Dropout(0.5),),
}


@each_dtype
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer(ran, name, dtype):
    net, x = network(*NETWORKS[name](), dtype=dtype), rows(dtype=dtype)
    draws = net.random_state()
    kept = x.copy()
    found = outputs(net, x)
    close(found, net(x))
    assert_all_ran(ran, len(x))
    assert net.random_state() == draws
    np.testing.assert_array_equal(x, kept, err_msg="x was written")
    assert not np.shares_memory(found, x)


@pytest.mark.parametrize("seed", range(10))
def test_networks_of_any_layers(seed):
    rng, width, layers = np.random.default_rng(seed), 5, []
    for _ in range(rng.integers(1, 6)):
        out = int(rng.integers(1, 20))
        kind = str(rng.choice(["linear", "relu", "sigmoid", "tanh"]))
        layers.append(Dense(width, out, bias=bool(rng.integers(2)), activation=kind, init="xavier"))
        width = out
        every = ReLU(), Sigmoid(), Tanh(), Linear(), Dropout(0.5), BatchNorm(out), RMSNorm(out)
        layers += [every[k] for k in rng.permutation(len(every))[: rng.integers(0, 3)]]
    net, x = network(*layers, dtype="float64"), rows(LEAST + 3, "float64")
    close(outputs(net, x), net(x))


@pytest.mark.parametrize("batch_size", [1, 7, 255, ROWS, 1000, 10**6])
def test_batches_of_other_sizes(ran, batch_size):
    net, x = network(), rows(LEAST + 9)
    close(outputs(net, x, batch_size), net(x))
    assert_all_ran(ran, len(x), min(batch_size, ROWS))


def test_more_batches_than_a_run_has():
    net, x = network(Dense(5, 2)), rows(3 * MOST * 8 + 3)
    close(outputs(net, x, batch_size=8), net(x))
    y = targets("classes", len(x)) % 2
    loss = float(KINDS["classes"](net(x), y)[0])
    assert evaluate(net, x, y, KINDS["classes"])[0] == pytest.approx(loss, rel=1e-5)


def test_few_rows_go_through_the_layers(ran):
    net, x = network(), rows(LEAST - 1)
    close(outputs(net, x), net(x))
    assert ran == []
    assert outputs(net, x[:0]).shape == (0, 3)


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "columns of a wider array": lambda x: np.concatenate([x, x], axis=1)[:, :5],
    "one row again and again": lambda x: np.broadcast_to(x[0], x.shape),
    "the other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "float16": lambda x: x.astype("float16"),
    "lists": lambda x: x.tolist(),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_of_any_layout_and_dtype(name):
    net, x = network(), LAYOUTS[name](rows())
    dense = np.ascontiguousarray(x, "float32")
    expected = np.concatenate([net(part) for part in np.array_split(dense, 4)])
    close(outputs(net, x), expected)
    np.testing.assert_array_equal(predict(net, x), expected.argmax(axis=1))
    y = expected.argmax(axis=1)
    assert accuracy(net, x, y) == 1.0


# --- predictions ----------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_the_layers(ran, kind):
    net, x = network(kind=kind), rows()
    net.parameters()["5.bias"][...] -= np.median(net(x), axis=0)
    z = net(x)
    labels = (z[:, 0] > 0) if WIDTHS[kind] == 1 else z.argmax(axis=1)
    found = predict(net, x)
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == np.int64
    assert len(set(found.tolist())) > 1
    assert accuracy(net, x, labels) == 1.0
    assert accuracy(net, x, 1 - labels) < 1.0
    p = predict_proba(net, x)
    np.testing.assert_allclose(p, predict_proba(net, x[:300]).tolist() + predict_proba(
        net, x[300:]).tolist(), rtol=1e-5, atol=1e-7)  # fmt: skip
    assert ran


# --- losses ---------------------------------------------------------------------------------------
@each_dtype
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [LEAST, LEAST + 3])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_metric_are_those_of_the_layers(ran, kind, n, weighted, dtype):
    net, x, y = network(kind=kind, dtype=dtype), rows(n, dtype), targets(kind, n)
    weights = np.random.default_rng(2).uniform(0, 2, n).astype(dtype) if weighted else None
    loss = KINDS[kind]
    output = net(x)
    mean = loss(output, y) if weights is None else loss(output, y, weights)
    found = evaluate(net, x, y, loss, weights)
    close_to = 50 * LOSS_LIMIT * float(np.finfo(dtype).eps)
    assert found[0] == pytest.approx(float(mean[0]), rel=close_to)
    assert found[1] == pytest.approx(float(loss.measure(output, y)) / n, rel=close_to)
    assert_all_ran(ran, n)


def test_targets_of_any_layout_and_dtype():
    net, x, loss = network(), rows(), KINDS["classes"]
    y = targets("classes", len(x))
    wanted = evaluate(net, x, y, loss)
    for given in (y.astype("int8"), y.astype(">i4"), np.repeat(y, 2)[::2], y[::-1].copy()[::-1]):
        assert evaluate(net, x, given, loss) == wanted
    net, y, loss = network(kind="numbers"), targets("numbers", len(x)), KINDS["numbers"]
    wanted = evaluate(net, x, y, loss)
    for given in (np.asfortranarray(y), y.astype("float64"), np.repeat(y, 2, axis=1)[:, ::2]):
        assert evaluate(net, x, given, loss) == wanted
    weights = np.random.default_rng(0).uniform(0, 2, len(x)).astype("float32")
    wanted = evaluate(net, x, y, loss, weights)
    assert evaluate(net, x, y, loss, np.repeat(weights, 2)[::2]) == wanted


def test_validation_by_fit_is_what_the_layers_say():
    net, x, y = network(), rows(), targets("classes", LEAST + 100)
    given = {"loss": KINDS["classes"], "optimizer": SGD(net.parameters()), "progress": False}
    history = fit(net, (x[:64], y[:64]), validation=(x, y), epochs=2, **given)
    expected = float(KINDS["classes"](net(x), y)[0])
    assert history.val_loss[-1] == pytest.approx(expected, rel=1e-5)
    assert history.val_accuracy[-1] == accuracy(net, x, y)


@dataclasses.dataclass
class Scaled(SoftmaxCrossEntropy):
    """A loss that has no hash, as dataclasses have none."""

    factor: float = 2.0

    def __call__(self, output, targets, weights=None):
        loss, gradient = super().__call__(output, targets, weights)
        return self.factor * loss, self.factor * gradient


class Named(SoftmaxCrossEntropy):
    """The same loss, which equals others of its kind and has no hash."""

    def __eq__(self, other):
        return type(other) is Named

    __hash__ = None


@pytest.mark.parametrize("loss", [Scaled(), Named()], ids=["of one's own", "recorded"])
def test_a_loss_without_a_hash(loss):
    net, x, y = network(), rows(), targets("classes", LEAST + 100)
    expected = float(loss(net(x), y)[0])
    assert evaluate(net, x, y, loss)[0] == pytest.approx(expected, rel=1e-5)


class OfRows(SoftmaxCrossEntropy):
    """Another metric, and no record."""

    def measure(self, output, targets):
        return np.float64(7 * len(output))


def test_a_metric_of_one_s_own_is_asked(ran):
    net, x, y = network(), rows(), targets("classes", LEAST + 100)
    assert evaluate(net, x, y, OfRows())[1] == 7
    assert ran == []


# --- what goes through the layers -----------------------------------------------------------------
class Doubled(Dense):
    def forward(self, x, train=False):
        return 2 * super().forward(x, train)


class Halved(Sequential):
    def forward(self, x, train=False):
        return super().forward(x, train) / 2


def hung():
    net = network()
    original = net.layers[0].forward
    net.layers[0].forward = lambda x, train=False: original(x, train) + 1
    return net


UNCAPTURED = {
    "softmax": lambda: network(Dense(5, 3), Softmax()),
    "float16": lambda: network(Dense(5, 3), dtype="float16"),
    "a forward of one's own": lambda: network(Doubled(5, 3)),
    "a network of one's own": lambda: Halved(Dense(5, 3), device="cpu"),
    "a forward that is hung on a layer": hung,
}


@pytest.mark.parametrize("name", UNCAPTURED)
def test_what_can_not_be_captured_goes_through_the_layers(ran, name):
    net = UNCAPTURED[name]()
    x, y = rows(dtype=net.dtype.name), targets("classes", LEAST + 100)
    expected = net(x)
    np.testing.assert_allclose(outputs(net, x), expected, rtol=1e-2 if name == "float16" else 1e-5)
    mean = float(KINDS["classes"](expected, y)[0])
    assert evaluate(net, x, y, KINDS["classes"])[0] == pytest.approx(mean, rel=1e-3)
    assert ran == []


class Played(NumpyBackend):
    """A GPU, played by NumPy."""

    device = "cuda:0"


class OnGpu(SoftmaxCrossEntropy):
    """NumPy's functions refuse CuPy's arrays."""

    def given_to_record(self, targets, weights, dtype):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")


def test_on_a_gpu_nothing_is_brought_to_the_cpu(ran):
    net, x, y = network(), rows(), targets("classes", LEAST + 100)
    expected = float(KINDS["classes"](net(x), y)[0])
    net.parameters()._backend = Played()
    assert evaluate(net, x, y, OnGpu())[0] == pytest.approx(expected, rel=1e-5)
    outputs(net, x)
    assert ran == []


# --- what changes ---------------------------------------------------------------------------------
def load_another(net):
    net.load_state_dict(network(seed=1).state_dict())


def write_parameters(net):
    net.parameters().flat[...] *= 0.5
    net.parameters()["0.weight"][2] = 1.0


def write_statistics(net):
    net.buffers()["1.running_mean"][...] += 1.0
    net.buffers()["1.running_var"][...] *= 2.0


def train(net):
    net.forward(rows(64), train=True)


def set_slope(net):
    net.layers[4].slope = 0.5


def set_eps(net):
    net.layers[1].eps = 1.0


def set_activation(net):
    net.layers[1].activation = None


def set_keep_prob(net):
    net.layers[2].keep_prob = 0.9  # counts in training only


def bind_again(net):
    net.to("cpu")


CHANGES = [load_another, write_parameters, write_statistics, train, set_slope, set_eps,
           set_activation, set_keep_prob, bind_again]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_counts_from_then_on(ran, change):
    net, x, y = network(), rows(), targets("classes", LEAST + 100)
    before = outputs(net, x)
    evaluate(net, x, y, KINDS["classes"])
    change(net)
    expected = net(x)
    close(outputs(net, x), expected)
    mean = float(KINDS["classes"](expected, y)[0])
    assert evaluate(net, x, y, KINDS["classes"])[0] == pytest.approx(mean, rel=1e-5)
    assert len(ran) == 4
    if change not in (set_keep_prob, bind_again):
        assert np.abs(expected - before).max() > 1e-3, "it changed nothing"


@pytest.mark.parametrize("made", [copy.deepcopy, copy.copy,
                                  lambda net: pickle.loads(pickle.dumps(net))])  # fmt: skip
def test_copies_of_a_network_have_programs_of_their_own(made):
    net, x = network(), rows()
    before = outputs(net, x)
    other = made(net)
    np.testing.assert_array_equal(outputs(other, x), before)
    write_parameters(net)
    close(outputs(net, x), net(x))
    np.testing.assert_array_equal(outputs(other, x), before)
    write_statistics(other)
    close(outputs(other, x), other(x))
    close(outputs(net, x), net(x))


def test_programs_are_kept_and_not_too_many(monkeypatch):
    made = []

    class Counted(CapturedForward):
        def __init__(self, *given):
            made.append(given[1])
            super().__init__(*given)

    monkeypatch.setattr(captured_forward, "CapturedForward", Counted)
    net, x = network(), rows(16 * ROWS)
    for _ in range(5):
        outputs(net, x)
        predict(net, x)
    assert made == [ROWS]
    for n in range(KEPT + 3):
        close(outputs(net, x[: LEAST + n]), net(x[: LEAST + n]))
        assert len(net.programs) <= KEPT


def test_layers_that_were_pickled_are_predicted_with_at_once():
    net = pickle.loads(pickle.dumps(network()))
    assert net.programs == {}
    close(outputs(net, rows()), net(rows()))


# --- threads --------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [LEAST, 3 * ROWS, 20 * ROWS + 5])
def test_every_number_of_threads_gives_the_same_bits(set_threads, n):
    net, x, y = network(), rows(n), targets("classes", n)
    found = []
    for threads in (1, 2, 3, 2, 1):
        set_threads(threads)
        found.append((outputs(net, x).tobytes(), *evaluate(net, x, y, KINDS["classes"])))
    assert len(set(found)) == 1


def test_several_threads_at_once_give_what_one_gives():
    net, other = network(), network(seed=1)
    y = targets("classes", LEAST + 5)
    given = [(each, rows(LEAST + 5, seed=seed)) for seed in range(2) for each in (net, other)]
    wanted = [(outputs(*pair), evaluate(*pair, y, KINDS["classes"])) for pair in given]
    net.programs.clear()  # all begin with capturing it
    failures, start = [], threading.Barrier(len(given))

    def work(k):
        try:
            start.wait(PATIENCE)
            for _ in range(10):
                same = np.array_equal(outputs(*given[k]), wanted[k][0])
                if not same or evaluate(*given[k], y, KINDS["classes"]) != wanted[k][1]:
                    failures.append(k)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(given))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- what is not finite ---------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_spoil_their_own_outputs_only(bad):
    net, x = network(Dense(5, 8, activation="relu"), Dense(8, 3)), rows()
    expected = outputs(net, x)
    x[[3, 300, 611], 2] = bad
    with np.errstate(invalid="ignore"):
        found, layers = outputs(net, x), net(x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(layers))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(layers))
    assert np.isfinite(found).all(axis=1).sum() == len(x) - 3
    good = np.isfinite(layers).all(axis=1)
    np.testing.assert_array_equal(found[good], expected[good])
    np.testing.assert_array_equal(predict(net, x)[good], expected[good].argmax(axis=1))
    np.testing.assert_array_equal(predict(net, x), layers.argmax(axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_of_rows_that_are_not_finite_is_not_finite(kind):
    net, x, y = network(kind=kind), rows(), targets(kind, LEAST + 100)
    x[300] = np.nan
    assert np.isnan(evaluate(net, x, y, KINDS[kind])[0])
    x[300] = 0
    assert np.isfinite(evaluate(net, x, y, KINDS[kind])[0]), "the program remembers"


# --- mistakes -------------------------------------------------------------------------------------
@pytest.mark.parametrize("function", [outputs, predict, predict_proba])
def test_mistakes_are_told_as_ever(function):
    net, x = network(), rows()
    for batch_size, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match=f"batch_size is {batch_size}"):
            function(net, x, batch_size)
    with pytest.raises(ValueError, match=r"x has shape \(612, 4\); expected \(n, 5\)"):
        function(net, x[:, :4])


def test_labels_that_are_told_before_are_the_ones_a_program_sees(monkeypatch):
    """A program reads what it is given unchecked: `fit` refuses validation data before."""
    seen = []
    monkeypatch.setattr(prediction, "captured_loss", lambda *given: seen.append(given))
    net, x, y = network(), rows(), targets("classes", LEAST + 100)
    given = {"loss": KINDS["classes"], "optimizer": SGD(net.parameters()), "progress": False}
    y[400] = 3
    with pytest.raises(ValueError, match=r"y of validation: labels hold 3; expected 0\.\.2"):
        fit(net, (x[:64], y[:64]), validation=(x, y), **given)
    assert seen == []


class OfNames(SoftmaxCrossEntropy):
    """Targets are names, which no dtype of a network holds."""

    def __call__(self, output, targets, weights=None):
        return super().__call__(output, (targets == "yes").astype(int), weights)

    def measure(self, output, targets):
        return super().measure(output, (targets == "yes").astype(int))


def test_targets_of_a_loss_of_one_s_own_are_left_to_it():
    net, x = network(Dense(5, 2)), rows()
    y = np.where(np.arange(len(x)) % 2, "yes", "no")
    found = evaluate(net, x, y, OfNames())
    assert found == pytest.approx(evaluate(net, x, (y == "yes").astype(int), KINDS["classes"]))
