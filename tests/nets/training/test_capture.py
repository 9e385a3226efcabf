"""`capture`: a step of one's own loop does what forward, loss, backward and update do apart."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from cases.training import KINDS, WIDTHS, bits, data
from onepass import nets
from onepass.nets import (
    L1,
    L2,
    SGD,
    Adam,
    BatchNorm,
    CapturedStep,
    Dense,
    Dropout,
    GroupNorm,
    LayerNorm,
    Momentum,
    RMSNorm,
    Sequential,
    Softmax,
    Tanh,
    capture,
)
from onepass.nets.network.captured_forward import KEPT
from tolerances import CAPTURED_LIMITS, assert_close

PATIENCE = 60  # seconds after which a test that hangs is given up
each_kind = pytest.mark.parametrize("kind", KINDS)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def network(kind="classes", dtype="float64", *middle, seed=0):
    layers = Dense(2, 8), Tanh(), *middle, Dense(8, WIDTHS[kind])
    return Sequential(*layers, seed=seed, dtype=dtype, device="cpu")


def batches(kind="classes", steps=100, sizes=(16,), weighted=False, dtype="float64"):
    """(x, y, weights or None) of each step."""
    x, y = data(kind, n=200)
    rng = np.random.default_rng(1)
    for k in range(steps):
        taken = rng.integers(0, 200, sizes[k % len(sizes)])
        weights = rng.uniform(0, 2, len(taken)).astype(dtype) if weighted else None
        yield x[taken].astype(dtype), y[taken], weights


def plain(net, loss, optimizer, x, y, weights=None, regularizers=(), samples=1):
    """(mean loss, mean metric) before an update as anyone would write it."""
    output = net.forward(x, train=True)
    mean, gradient = loss(output, y) if weights is None else loss(output, y, weights)
    mean = float(mean) + sum(float(each.penalty(net, samples)) for each in regularizers)
    metric = float(loss.measure(output, y)) / len(x)
    net.backward(gradient)
    for each in regularizers:
        each.add_gradient(net, samples)
    optimizer.step()
    return mean, metric


def check(kind="classes", dtype="float64", *middle, make=None, regularizers=(), **given):
    """Captured as plain, over 100 steps; gives the step."""
    make = make or (lambda params: Momentum(params, lr=0.02))
    pairs = []
    for _ in range(2):
        net = network(kind, dtype, *[each() for each in middle])
        pairs.append((net, make(net.parameters())))
    (net, optimizer), (twin, its) = pairs
    loss = KINDS[kind]
    options = {"regularizer": list(regularizers), "samples": 50} if regularizers else {}
    step = capture(net, loss, optimizer, batch_size=16, **options)
    assert type(step) is CapturedStep
    assert step.why_not == ""
    limit = CAPTURED_LIMITS[dtype]
    eps = float(np.finfo(dtype).eps)
    for x, y, weights in batches(kind, dtype=dtype, **given):
        found = step(x, y) if weights is None else step(x, y, weights)
        expected, metric = plain(twin, loss, its, x, y, weights, regularizers, 50)
        assert type(found) is float
        assert found == pytest.approx(expected, rel=limit * eps, abs=limit * eps)
        assert step.metric == pytest.approx(metric, rel=limit * eps)
    assert optimizer.steps == its.steps
    assert step.why_not == ""
    expected = twin.state_dict()
    for name, array in net.state_dict().items():
        scale = np.abs(expected[name]).max()
        assert_close(array, expected[name], dtype, limit=limit, scale=scale, what=name)
    return step


# --- what it does ---------------------------------------------------------------------------------
@each_dtype
@each_kind
def test_loss_metric_and_parameters_are_those_of_plain_updates(kind, dtype):
    check(kind, dtype)


@each_kind
def test_rows_are_weighted(kind):
    check(kind, weighted=True)


@each_kind
def test_batches_of_several_sizes_a_last_smaller_one_among_them(kind):
    check(kind, sizes=(16, 16, 5, 1, 40))


def test_batches_with_weights_and_without_in_turn():
    net, twin = network(), network()
    ours, theirs = SGD(net.parameters(), lr=0.1), SGD(twin.parameters(), lr=0.1)
    step = capture(net, KINDS["classes"], ours, batch_size=16)
    for k, (x, y, weights) in enumerate(batches(steps=20, weighted=True)):
        given = weights if k % 2 else None
        found = step(x, y, given)
        assert found == pytest.approx(
            plain(twin, KINDS["classes"], theirs, x, y, given)[0], rel=1e-12
        )


@pytest.mark.parametrize("regularizers", [(L2(3.0),), (L1(1.0), L2(1.0, biases=True))])
def test_a_penalty_is_over_the_number_of_samples(regularizers):
    check(regularizers=regularizers)


def test_batch_norm_dropout_and_clipping():
    def make(params):
        return Adam(params, lr=0.01, clip_norm=0.1)

    check("classes", "float64", lambda: BatchNorm(8), lambda: Dropout(0.8), make=make)


@each_dtype
@pytest.mark.parametrize(
    "norm", [lambda: LayerNorm(8, activation="gelu"), lambda: RMSNorm(8), lambda: GroupNorm(2, 8)]
)
def test_norms_of_rows_in_batches_of_several_sizes(norm, dtype):
    check("classes", dtype, norm, sizes=(16, 16, 5, 1, 40))


def test_fit_s_batches_by_hand_give_fit_s_figures():
    x, y = data(n=64)
    net, twin = network(), network()
    history = nets.fit(
        twin, (x, y), loss=KINDS["classes"], optimizer=SGD(twin.parameters(), lr=0.1), epochs=3,
        batch_size=16, progress=False, seed=4,
    )  # fmt: skip
    step = capture(net, KINDS["classes"], SGD(net.parameters(), lr=0.1), batch_size=16)
    rng, losses = np.random.default_rng(4), []
    for _ in range(3):
        parts = nets.minibatches(64, 16, rng)
        losses.append(np.mean([step(x[part], y[part]) for part in parts]))
    np.testing.assert_allclose(losses, history.loss, rtol=1e-13)
    assert bits(net) == bits(twin)


def test_data_may_be_lists_of_other_dtypes_and_of_any_layout_and_is_left_untouched():
    x, y, _ = next(iter(batches()))
    kept = x.copy(), y.copy()
    found = []
    for given in (
        (x, y), (x.tolist(), y.tolist()), (np.asfortranarray(x), y.astype("int8")),
        (np.repeat(x, 2, axis=1)[:, ::2], np.repeat(y, 2)[::2]),
    ):  # fmt: skip
        net = network()
        step = capture(net, KINDS["classes"], SGD(net.parameters(), lr=0.1))
        found.append((step(*given), bits(net)))
    assert all(each == found[0] for each in found)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


def test_capturing_itself_changes_nothing():
    net = network("classes", "float64", BatchNorm(8), Dropout(0.5))
    optimizer = Adam(net.parameters())
    kept, draws = bits(net), net.random_state()
    capture(net, KINDS["classes"], optimizer, regularizer=L2(0.1), samples=10)
    assert bits(net) == kept
    assert net.random_state() == draws
    assert optimizer.steps == 0


# --- what changes ---------------------------------------------------------------------------------
def set_momentum(net, optimizer):
    optimizer.tune(momentum=0.5, lr=0.05)


def set_decay(net, optimizer):
    optimizer.weight_decay = 0.1


def set_clipping(net, optimizer):
    optimizer.clip_norm = 0.05


def set_keep_prob(net, optimizer):
    net.layers[2].keep_prob = 0.5


def set_parameters(net, optimizer):
    net.parameters().flat[...] *= 0.5


def load_states(net, optimizer):
    optimizer.load_state_dict(Momentum(net.parameters(), lr=0.01).state_dict())


@pytest.mark.parametrize(
    "change", [set_momentum, set_decay, set_clipping, set_keep_prob, set_parameters, load_states]
)
def test_what_changes_between_calls_counts_from_then_on(change):
    results = []
    for captured in (True, False):
        net = network("classes", "float64", Dropout(0.9))
        optimizer = Momentum(net.parameters(), lr=0.02)
        step = capture(net, KINDS["classes"], optimizer, batch_size=16)
        losses = []
        for k, (x, y, _) in enumerate(batches(steps=20)):
            if k == 10:
                change(net, optimizer)
            if captured:
                losses.append(step(x, y))
            else:
                losses.append(plain(net, KINDS["classes"], optimizer, x, y)[0])
        results.append((losses, net.parameters().flat.copy()))
    np.testing.assert_allclose(*(each[0] for each in results), rtol=1e-12)
    np.testing.assert_allclose(*(each[1] for each in results), rtol=1e-11, atol=1e-13)


def test_a_penalty_that_changes_counts_from_then_on():
    net, twin = network(), network()
    ours, theirs = SGD(net.parameters(), lr=0.1), SGD(twin.parameters(), lr=0.1)
    penalty = L2(1.0)
    step = capture(net, KINDS["classes"], ours, regularizer=penalty, samples=50)
    for k, (x, y, _) in enumerate(batches(steps=10)):
        penalty.lam = 1.0 + k
        found = step(x, y)
        expected, _ = plain(twin, KINDS["classes"], theirs, x, y, None, (penalty,), 50)
        assert found == pytest.approx(expected, rel=1e-12)


def test_between_calls_anything_else_may_be_done_with_the_network():
    net, twin = network(), network()
    ours, theirs = Adam(net.parameters()), Adam(twin.parameters())
    loss, (held_out, labels) = KINDS["classes"], data(n=600, seed=3)
    step = capture(net, loss, ours)
    for k, (x, y, _) in enumerate(batches(steps=12)):
        if k % 3 == 2:
            plain(net, loss, ours, x, y)
        else:
            step(x, y)
        plain(twin, loss, theirs, x, y)
        assert nets.accuracy(net, held_out, labels) == nets.accuracy(twin, held_out, labels)
    np.testing.assert_allclose(net.parameters().flat, twin.parameters().flat, rtol=1e-11)


# --- what can't be captured -----------------------------------------------------------------------
class Halved(Dense):
    def forward(self, x, train=False):
        return super().forward(x, train) / 2


UNCAPTURABLE = {
    "float16": (lambda: network(dtype="float16"), {}, "float16"),
    "softmax": (lambda: network("classes", "float64", Softmax()), {}, "layer 2 Softmax()"),
    "a forward of one's own": (
        lambda: Sequential(Halved(2, 3), device="cpu"), {}, "layer 0 Dense(2, 3)"
    ),
    "batch norm": (
        lambda: network("classes", "float64", BatchNorm(8, momentum=None)), {}, "momentum=None"
    ),
    "engine": (network, {"engine": "array"}, "the optimizer's engine is 'array'"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCAPTURABLE)
def test_what_can_not_be_captured_says_why_and_calls_work_all_the_same(name):
    make, options, reason = UNCAPTURABLE[name]
    net, twin = make(), make()
    ours, theirs = (SGD(each.parameters(), lr=0.1, **options) for each in (net, twin))
    step = capture(net, KINDS["classes"], ours, batch_size=16)
    assert reason in step.why_not
    for x, y, weights in batches(steps=5, weighted=True, sizes=(16, 7)):
        weights = weights.astype(np.promote_types(net.dtype, "float32"))
        expected, metric = plain(twin, KINDS["classes"], theirs, x, y, weights)
        assert step(x, y, weights) == pytest.approx(expected, rel=1e-6)
        assert step.metric == metric
    assert reason in step.why_not
    assert bits(net) == bits(twin)


def test_what_can_not_be_captured_any_more_says_why_from_then_on():
    net = network("classes", "float64", BatchNorm(8))
    optimizer = SGD(net.parameters())
    step = capture(net, KINDS["classes"], optimizer)
    x, y = data()
    step(x, y)
    assert step.why_not == ""
    net.layers[2].use_running_average = True
    twin = network("classes", "float64", BatchNorm(8, use_running_average=True))
    twin.load_state_dict(net.state_dict())
    found = step(x, y)
    assert found == pytest.approx(plain(twin, KINDS["classes"], SGD(twin.parameters()), x, y)[0])
    assert "use_running_average" in step.why_not
    assert optimizer.steps == 2


# --- mistakes -------------------------------------------------------------------------------------
X, Y = data(n=16)
WRONG = {
    "another width": ((X[:, :1], Y), ValueError, r"x of the batch has shape \(16, 1\).*\(n, 2\)"),
    "flat": ((X[0], Y), ValueError, r"x of the batch has shape \(2,\)"),
    "no rows": ((X[:0], Y[:0]), ValueError, "x of the batch has no rows"),
    "x that is not finite": ((X * np.nan, Y), ValueError, "x of the batch holds values that are n"),
    "another number of labels": ((X, Y[:9]), ValueError, r"y of the batch has shape \(9,\)"),
    "a label too large": ((X, Y + 1), ValueError, r"y of the batch: labels hold 3; expected 0\.\."),
    "a negative label": ((X, Y - 1), ValueError, "y of the batch: labels hold -1"),
    "labels that are no integers": ((X, Y / 2), TypeError, "y of the batch: labels have dtype"),
    "weights too few": ((X, Y, np.ones(9)), ValueError, r"weights has shape \(9,\).*\(16,\)"),
    "weights of a column": ((X, Y, np.ones((16, 1))), ValueError, r"weights has shape \(16, 1\)"),
    "negative weights": ((X, Y, -np.ones(16)), ValueError, "weights .*finite numbers >= 0"),
    "weights of nan": ((X, Y, np.full(16, np.nan)), ValueError, "weights .*finite numbers >= 0"),
    "names as weights": ((X, Y, ["a"] * 16), (TypeError, ValueError), "weights"),
    "a masked array as weights": ((X, Y, np.ma.ones(16)), TypeError, "weights"),
    "complex weights": ((X, Y, np.ones(16) * 1j), TypeError, "weights"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float16"])  # captured, and layer by layer
@pytest.mark.parametrize("name", WRONG)
def test_a_call_with_a_mistake_names_it_and_writes_nothing(name, dtype):
    given, error, message = WRONG[name]
    net = network("classes", dtype, BatchNorm(8), Dropout(0.5))
    optimizer = Momentum(net.parameters())
    step = capture(net, KINDS["classes"], optimizer, batch_size=16)
    assert bool(step.why_not) == (dtype == "float16")
    step(X, Y)
    kept, draws, grads = bits(net), net.random_state(), net.parameters().flat_grads.copy()
    metric = step.metric
    with pytest.raises(error, match=message):
        step(*given)
    assert bits(net) == kept
    assert net.random_state() == draws
    np.testing.assert_array_equal(net.parameters().flat_grads, grads)
    assert (optimizer.steps, step.metric) == (1, metric)


def test_a_batch_too_small_for_a_layer_is_refused():
    net = network("classes", "float64", BatchNorm(8))
    step = capture(net, KINDS["classes"], SGD(net.parameters()))
    kept = bits(net)
    with pytest.raises(ValueError, match=r"1 sample, but .* takes 2 or more"):
        step(X[:1], Y[:1])
    assert bits(net) == kept


def test_what_capture_refuses():
    net, other = network(), network()
    optimizer, loss = SGD(net.parameters()), KINDS["classes"]
    for given, options, error, message in (
        ((net, loss, SGD(other.parameters())), {}, ValueError, "optimizer updates other arrays"),
        ((net, type(loss), optimizer), {}, TypeError, "loss is <class"),
        ((net, loss, optimizer), {"batch_size": 0}, ValueError, "batch_size is 0"),
        ((net, loss, optimizer), {"batch_size": 1.5}, TypeError, "batch_size is 1.5"),
        ((net, loss, optimizer), {"regularizer": L2(1.0)}, TypeError, "samples are left out"),
        ((net, loss, optimizer), {"regularizer": 3, "samples": 5}, TypeError, "regularizer is 3"),
        ((net, loss, optimizer), {"regularizer": L2(1.0), "samples": 0}, ValueError, "samples is"),
    ):
        with pytest.raises(error, match=message):
            capture(*given, **options)
    probabilities = Sequential(Dense(2, 3), Softmax(), device="cpu")
    with pytest.raises(ValueError, match="takes logits"):
        capture(probabilities, loss, SGD(probabilities.parameters()))


# --- what is not finite ---------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_loss_that_is_not_finite_names_the_layer_and_updates_nothing(dtype):
    net = network(dtype=dtype)
    optimizer = Momentum(net.parameters())
    step = capture(net, KINDS["classes"], optimizer)
    step(X, Y)
    net.parameters()["2.weight"][0, 0] = np.nan
    kept, states = bits(net), optimizer.state_dict()["state"]
    with pytest.raises(FloatingPointError, match=r"^the loss is nan: layer 2 Dense\(8, 3\) went"):
        step(X, Y)
    assert bits(net) == kept
    assert optimizer.steps == 1
    for name, every in optimizer.state_dict()["state"].items():
        for key, array in every.items():
            np.testing.assert_array_equal(array, states[name][key])
    net.parameters()["2.weight"][0, 0] = 0.5  # and it goes on
    assert np.isfinite(step(X, Y))
    assert optimizer.steps == 2


def test_an_output_that_overflows_names_its_layer():
    net = Sequential(Dense(2, 4), Dense(4, 3), device="cpu")
    step = capture(net, KINDS["classes"], SGD(net.parameters()))
    kept = bits(net)
    with pytest.raises(FloatingPointError, match=r"layer 0 Dense\(2, 4\) went wrong first: its ou"):
        step(np.full((4, 2), 3e38), np.arange(4) % 3)
    assert bits(net) == kept


def test_gradients_that_are_not_finite_where_clip_norm_asks_for_their_norm():
    net = Sequential(Dense(2, 2, init="zeros"), device="cpu")
    optimizer = Momentum(net.parameters(), clip_norm=1.0)
    step = capture(net, KINDS["numbers"], optimizer)
    kept = bits(net)
    with pytest.raises(FloatingPointError, match="the gradients' norm is inf: layer 0 Dense"):
        step(np.full((4, 2), 1e32), np.full((4, 2), 1e10))
    assert bits(net) == kept
    assert optimizer.steps == 0


@pytest.mark.parametrize("size", [1e200, 1e-150])
def test_gradients_whose_squares_leave_float64_are_clipped(size):
    net, twin = (Sequential(Dense(2, 3, init="zeros"), dtype="float64", device="cpu")
                 for _ in range(2))  # fmt: skip
    ours, theirs = (SGD(each.parameters(), lr=0.1, clip_norm=1e-151) for each in (net, twin))
    step = capture(net, KINDS["classes"], ours)
    x = X.astype("float64") * size
    for _ in range(3):
        found = step(x, Y)
        assert found == pytest.approx(plain(twin, KINDS["classes"], theirs, x, Y)[0], rel=1e-12)
    np.testing.assert_allclose(net.parameters().flat, twin.parameters().flat, rtol=1e-12)
    assert ours.steps == 3


# --- threads --------------------------------------------------------------------------------------
def test_steps_of_two_networks_in_two_threads_give_what_they_give_in_one():
    def train(seed):
        net = network(seed=seed)
        step = capture(net, KINDS["classes"], Adam(net.parameters()), batch_size=16)
        losses = [step(x, y) for x, y, _ in batches(steps=60, sizes=(16, 9))]
        return losses, bits(net)

    wanted = [train(seed) for seed in range(2)]
    found, errors, start = [None, None], [], threading.Barrier(2)

    def work(seed):
        try:
            start.wait(PATIENCE)
            found[seed] = train(seed)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert found == wanted


def test_steps_for_many_sizes_of_batch_are_not_all_kept():
    net = Sequential(Dense(4, 3), seed=0, device="cpu")
    step = capture(net, KINDS["classes"], SGD(net.parameters(), lr=0.1))
    rng = np.random.default_rng(0)
    for rows in (*range(2, KEPT + 6), 2):
        assert np.isfinite(step(rng.standard_normal((rows, 4)), rng.integers(0, 3, rows)))
        assert len(step._made) <= KEPT


def test_the_long_way_does_not_warn_of_what_it_raises():
    net = Sequential(Dense(4, 2), seed=0, dtype="float16", device="cpu")
    step = capture(net, KINDS["numbers"], SGD(net.parameters(), lr=0.0))
    assert "float16" in step.why_not
    net.parameters()["0.weight"][...] = 1
    with pytest.raises(FloatingPointError, match="the loss is"):
        step(np.full((3, 4), 6e4, "float16"), np.zeros((3, 2)))
