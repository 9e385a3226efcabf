"""Losses of numbers and of labels: values, gradients, stability, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases.layers import gradient_ratio
from hypothesis import given
from hypothesis import strategies as st
from onepass.nets import (
    BinaryCrossEntropy,
    Dense,
    Huber,
    MeanSquaredError,
    Poisson,
    Sequential,
    SoftmaxCrossEntropy,
    gradient_check,
)
from oracles import losses as loss_oracles
from tolerances import GRADIENT_RATIO

BCE, MSE, POISSON = BinaryCrossEntropy(), MeanSquaredError(), Poisson()
HUBER, WIDE = Huber(), Huber(delta=2.5)
#        loss, its oracle, width of the output, targets for a shape
CASES = {
    "labels": (BCE, loss_oracles.binary_cross_entropy, 1, lambda r, s: r.integers(0, 2, s)),
    "soft labels": (BCE, loss_oracles.binary_cross_entropy, 1, lambda r, s: r.random(s)),
    "several labels": (BCE, loss_oracles.binary_cross_entropy, 4, lambda r, s: r.integers(0, 2, s)),
    "soft several": (BCE, loss_oracles.binary_cross_entropy, 2, lambda r, s: r.random(s)),
    "huber": (HUBER, loss_oracles.huber(1.0), 1, lambda r, s: r.standard_normal(s)),
    "huber, wide": (WIDE, loss_oracles.huber(2.5), 3, lambda r, s: r.integers(-3, 3, s)),
    "counts": (POISSON, loss_oracles.poisson, 1, lambda r, s: r.poisson(2.0, s)),
    "rates": (POISSON, loss_oracles.poisson, 3, lambda r, s: r.gamma(1.0, 2.0, s)),
    "one output": (MSE, loss_oracles.mean_squared_error, 1, lambda r, s: r.standard_normal(s)),
    "outputs": (MSE, loss_oracles.mean_squared_error, 3, lambda r, s: r.standard_normal(s)),
    "whole numbers": (MSE, loss_oracles.mean_squared_error, 2, lambda r, s: r.integers(-3, 3, s)),
}
each_case = pytest.mark.parametrize("name", CASES)


def case(name, n=7, seed=0):
    """loss, oracle, output, targets, weights."""
    loss, oracle, width, targets = CASES[name]
    rng = np.random.default_rng(seed)
    output = 3 * rng.standard_normal((n, width))
    return loss, oracle, output, targets(rng, (n, width)), rng.uniform(0.1, 3.0, n)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@each_case
def test_equals_the_formula_by_hand(name, dtype, weighted):
    loss, oracle, output, targets, weights = case(name)
    output = output.astype(dtype)
    weights = weights if weighted else None
    value, gradient = loss(output, targets, weights)
    expected, derivative = oracle(output, targets, weights)
    eps = float(np.finfo("float32" if dtype == "float16" else dtype).eps)
    assert float(value) == pytest.approx(expected, rel=10 * eps)
    assert value.dtype == np.float64
    assert value.shape == ()
    assert gradient.dtype == dtype
    assert gradient.shape == output.shape
    rounded = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(gradient, derivative, rtol=10 * eps + rounded, atol=eps)


@pytest.mark.parametrize("weighted", [False, True])
@each_case
def test_gradient_by_two_sided_differences(name, weighted):
    loss, _, output, targets, weights = case(name)
    weights = weights if weighted else None
    _, gradient = loss(output, targets, weights)
    ratio = gradient_ratio(lambda: float(loss(output, targets, weights)[0]), output, gradient)
    assert ratio < GRADIENT_RATIO


@pytest.mark.parametrize("weighted", [False, True])
@each_case
def test_equals_pytorch(name, weighted):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    loss, _, output, targets, weights = case(name)
    weights = weights if weighted else np.ones(len(output))
    z = torch.tensor(output, requires_grad=True)
    kind, options = {
        BCE: (torch.nn.BCEWithLogitsLoss, {}),
        MSE: (torch.nn.MSELoss, {}),
        HUBER: (torch.nn.HuberLoss, {}),
        WIDE: (torch.nn.HuberLoss, {"delta": 2.5}),
        POISSON: (torch.nn.PoissonNLLLoss, {"log_input": True}),
    }[loss]
    factors, y = torch.tensor(weights)[:, None], torch.tensor(targets * 1.0)
    expected = (kind(reduction="none", **options)(z, y) * factors).mean()
    if loss is BCE:  # whose labels are added up, where PyTorch takes their mean
        expected = expected * output.shape[1]
    if loss is POISSON:  # which has what depends on the targets alone too
        expected = expected + ((torch.special.xlogy(y, y) - y) * factors).mean()
    expected.backward()
    if not weighted and output.shape[1] == 1 and loss is not POISSON:
        mean = kind(**options)(z.detach(), y)
        assert mean.item() == pytest.approx(expected.item())
    value, gradient = loss(output, targets, weights)
    assert float(value) == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-12, atol=1e-15)


SKLEARN = {
    "several labels": ("binary_log_loss", lambda z: 1 / (1 + np.exp(-z))),
    "labels": ("binary_log_loss", lambda z: 1 / (1 + np.exp(-z))),
    "counts": ("poisson_loss", np.exp),
    "rates": ("poisson_loss", np.exp),
}


@pytest.mark.parametrize("name", SKLEARN)
def test_equals_scikit_learn(name):
    """Whose Poisson loss adds outputs up, and whose weights count relative to their sum."""
    base = pytest.importorskip("sklearn.neural_network._base")
    loss, _, output, targets, weights = case(name)
    function, of = SKLEARN[name]
    expected = getattr(base, function)(targets, of(output), weights)
    if loss is POISSON:
        expected = expected / output.shape[1]
    value, _ = loss(output, targets, weights / weights.mean())
    assert float(value) == pytest.approx(float(expected), rel=1e-12)


@each_case
def test_gradients_of_a_network(name):
    loss, _, output, targets, _ = case(name)
    x = np.random.default_rng(1).standard_normal((len(output), 5))
    net = Sequential(Dense(5, 4, activation="tanh"), Dense(4, output.shape[1]), dtype="float64")
    assert gradient_check(net, x, targets, loss).verdict == "right"


@each_case
def test_flat_outputs_and_targets_are_the_same(name):
    loss, _, output, targets, weights = case(name)
    if output.shape[1] != 1:
        pytest.skip("an output of several columns can't be flat")
    expected = loss(output, targets, weights)
    for z, y in ((output, targets[:, 0]), (output[:, 0], targets[:, 0]), (output[:, 0], targets)):
        value, gradient = loss(z, y, weights)
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1].reshape(z.shape))
        assert loss.measure(z, y) == loss.measure(output, targets)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_large_logits_neither_overflow_nor_take_the_logarithm_of_zero(dtype):
    z = np.array([6e4, -6e4, 6e4, -6e4], dtype)
    value, gradient = BCE(z, np.array([1, 0, 0, 1]))
    assert float(value) == pytest.approx(2 * 6e4 / 4, rel=1e-3)
    np.testing.assert_allclose(gradient, [0, 0, 0.25, -0.25], atol=1e-7)


@pytest.mark.parametrize("label", [0, 1])
def test_a_right_and_sure_answer_keeps_its_relative_accuracy(label):
    """-log(1 - a) and a - y would both be 0 here: 1 - exp(-40) is rounded to 1."""
    value, gradient = BCE(np.array([40.0 if label else -40.0]), np.array([label]))
    assert float(value) == pytest.approx(math.exp(-40), rel=1e-12, abs=0)
    assert float(gradient[0]) == pytest.approx(
        (-1 if label else 1) * math.exp(-40), rel=1e-12, abs=0
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_poisson_loss_near_its_target_keeps_its_relative_accuracy(dtype):
    """y log(y / p) - y + p of y = 1000 would be rounded to nothing, or below 0."""
    y = np.array([1.0], dtype)  # of which log y is exact
    for far in (1e-3, -1e-3, 3e-6, 0.9, -0.9):
        z = np.array([far], dtype)
        d = float(z[0])
        wanted = loss_oracles.poisson(z[:, None], y[:, None])[0]
        eps = float(np.finfo(dtype).eps)
        assert float(POISSON(z, y)[0]) == pytest.approx(wanted, rel=4 * eps / min(abs(d), 1), abs=0)
    y = np.array([1000.0], dtype)
    for z in np.log(y) + np.linspace(-1e-3, 1e-3, 101, dtype=dtype):
        assert float(POISSON(z.reshape(1), y)[0]) >= 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_poisson_of_extremes(dtype):
    z = np.array([-6e4, -6e4, 0, 0, 6e4], dtype)
    y = np.array([0, 3, 0, 1, 2.0])
    expected = [0, 3 * 6e4 + 3 * math.log(3) - 3, 1, 0, math.inf]
    for k in range(5):
        value, gradient = POISSON(z[k:][:1], y[k:][:1])
        assert float(value) == pytest.approx(expected[k], rel=1e-3), k
        assert float(gradient[0]) == [0, -3, 1, 0, math.inf][k]
    value, gradient = POISSON(np.array([-np.inf], dtype), np.zeros(1))
    assert (float(value), float(gradient[0])) == (0, 0)
    assert math.isnan(float(POISSON(np.array([np.nan], dtype), np.zeros(1))[0]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_huber_of_extremes(dtype):
    """A square would overflow float16 here, and float32 at 1e30."""
    far = {"float16": 6e4, "float32": 1e30, "float64": 1e200}[dtype]
    for delta in (0.5, 1.0):
        value, gradient = Huber(delta)(np.array([far, -far, 0], dtype), np.zeros(3, dtype))
        assert float(value) == pytest.approx(2 * delta * (far - delta / 2) / 3, rel=1e-3)
        np.testing.assert_allclose(gradient, [delta / 3, -delta / 3, 0], rtol=1e-3)
    value, gradient = Huber()(np.array([np.inf, -np.inf, np.nan], dtype)[:2], np.zeros(2))
    assert (float(value), gradient.tolist()) == (math.inf, [0.5, -0.5])
    assert math.isnan(float(Huber()(np.array([np.nan], dtype), np.zeros(1))[0]))
    beyond, square = Huber(1e300), np.array([[3.0], [-1.0]], dtype)
    assert float(beyond(square, np.zeros(2))[0]) == 2.5, "a delta no float32 holds: a square"


numbers = st.floats(-30, 30)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8), st.floats(1e-3, 50))
def test_huber_is_between_a_line_and_a_square(pairs, delta):
    output, y = np.array(pairs).T
    d, loss = np.abs(output - y), Huber(delta)
    value, gradient = loss(output, y)
    assert 0 <= float(value) <= np.mean(d * d) / 2 * (1 + 1e-12) + 1e-300
    assert float(value) <= delta * d.mean() * (1 + 1e-12)
    assert np.abs(gradient).max() <= delta / len(d) * (1 + 1e-12)
    swapped, against = loss(y, output)
    assert float(swapped) == float(value)
    np.testing.assert_array_equal(against, -gradient)


@given(st.lists(st.tuples(numbers, st.floats(0, 1e6)), min_size=1, max_size=8))
def test_a_poisson_loss_is_not_negative_and_least_at_its_target(pairs):
    z, y = np.array(pairs).T
    value, gradient = POISSON(z, y)
    assert float(value) >= -1e-9 * y.max()
    np.testing.assert_allclose(gradient * len(z), np.exp(z) - y, rtol=1e-12, atol=1e-9)
    at_target, flat = POISSON(np.log(np.maximum(y, 1e-200)), y)
    assert float(at_target) <= max(float(value), 1e-9) + 1e-9
    np.testing.assert_allclose(flat, 0, atol=1e-9)


@given(st.lists(st.tuples(*[numbers] * 3, *[st.floats(0, 1)] * 3), min_size=1, max_size=6))
def test_several_labels_are_so_many_losses_of_one(rows):
    z, y = np.hsplit(np.array(rows), 2)
    value, gradient = BCE(z, y)
    each = [BCE(z[:, j], y[:, j]) for j in range(3)]
    assert float(value) == pytest.approx(sum(float(one) for one, _ in each), rel=1e-12, abs=1e-12)
    np.testing.assert_array_equal(gradient, np.stack([one for _, one in each], axis=1))


def test_binary_cross_entropy_is_the_softmax_of_two_classes():
    z = np.linspace(-8, 8, 17)
    labels = np.arange(17) % 2
    value, gradient = BCE(z[:, None], labels)
    both, gradients = SoftmaxCrossEntropy()(np.stack([np.zeros(17), z], axis=1), labels)
    assert float(value) == pytest.approx(float(both), rel=1e-13)
    np.testing.assert_allclose(gradient[:, 0], gradients[:, 1], rtol=1e-11, atol=1e-16)


@each_case
def test_inputs_are_left_untouched(name):
    loss, _, output, targets, weights = case(name)
    kept = output.copy(), targets.copy(), weights.copy()
    loss(output, targets, weights)
    for found, before in zip((output, targets, weights), kept, strict=True):
        np.testing.assert_array_equal(found, before)


def test_metrics_add_up_over_rows():
    z = np.array([[2.0], [-1.0], [0.0], [3.0]])
    assert BCE.measure(z, np.array([1, 0, 1, 0])) == 2
    assert BCE.measure(z, np.array([True, False, False, True])[:, None]) == 4
    assert BCE.metric == "accuracy"
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    z = np.array([[2.0, -1.0], [1.0, -1.0], [-3.0, -0.5], [0.5, 2.0]])
    assert BCE.measure(z, labels) == 2, "rows all of whose labels are right"
    output = np.array([[1.0, 5.0], [0.0, 0.0]])
    assert MSE.measure(output, np.array([[2.0, 2.0], [0.5, 0.5]])) == 2.0 + 0.5
    assert HUBER.measure(output, np.array([[2.0, 2.0], [0.5, 0.5]])) == 2.0 + 0.5
    for loss in (MSE, HUBER, POISSON):
        assert (loss.metric, loss.larger_is_better) == ("mae", False)
    z = np.log(np.array([[1.0, 5.0], [3.0, 1.0]], "float32"))
    found = POISSON.measure(z, np.array([[2, 2], [0, 1]]))
    assert float(found) == pytest.approx(2.0 + 1.5, rel=1e-6)
    assert np.isfinite(float(POISSON.measure(np.full((1, 1), 20, "float16"), np.zeros(1))))


def test_labels_are_class_numbers_where_a_row_has_one():
    assert BCE.labels(np.array([[1.0], [0.0]])).tolist() == [1, 0]
    assert BCE.labels(np.array([1.0, 0.5])) is None
    assert BCE.labels(np.eye(2, dtype=int)) is None
    assert BCE.labels(np.array([[1, 0]])) is None
    assert POISSON.labels(np.array([1, 0])) is None


def test_representations_tell_the_settings():
    assert list(map(repr, (BCE, POISSON, HUBER, WIDE))) == [
        "BinaryCrossEntropy()", "Poisson()", "Huber(delta=1.0)", "Huber(delta=2.5)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("delta", "error"),
    [(0, ValueError), (-1.0, ValueError), (math.inf, ValueError), (math.nan, ValueError),
     ("1", TypeError), (True, TypeError), (None, TypeError)],
)  # fmt: skip
def test_huber_refuses_a_delta_that_is_not_positive(delta, error):
    with pytest.raises(error, match="delta is"):
        Huber(delta)


@each_case
def test_each_device_agrees_with_the_cpu(reference, name):
    loss, _, output, targets, weights = case(name)
    expected = *loss(output, targets, weights), loss.measure(output, targets)
    z, y, w = map(reference.asarray, (output, targets, weights))
    found = *loss(z, y, w), loss.measure(z, y)
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(reference.to_numpy(theirs), ours, rtol=1e-12, atol=1e-15)


def refused():
    z, y, w = np.zeros((3, 1)), np.zeros(3), np.ones(3)
    two = np.zeros((3, 2))
    for loss, word in ((BCE, "labels"), (MSE, "targets"), (HUBER, "targets"), (POISSON, "targets")):
        yield (
            loss,
            (z, y[:2]),
            ValueError,
            rf"{word} have shape \(2,\); expected \(3,\) or \(3, 1\)",
        )
        yield loss, (z, two), ValueError, rf"{word} have shape \(3, 2\)"
        yield loss, (z, y.astype(complex)), TypeError, f"{word} have dtype complex128"
        yield loss, (z, y.tolist()), TypeError, f"{word} is a list"
        yield loss, (z.tolist(), y), TypeError, "output is a list"
        yield loss, (z[:0], y[:0]), ValueError, r"output has shape \(0, 1\)"
        yield loss, (z.astype(int), y), TypeError, "output has dtype int64; expected float16"
        yield loss, (z, y, w[:2]), ValueError, r"weights have shape \(2,\) .*expected \(3,\)"
        yield loss, (z, y, w.astype(str)), ValueError, "weights have shape .* dtype <U"
        yield loss, (z, y, w.tolist()), TypeError, "weights is a list"
    yield BCE, (two, y), ValueError, r"labels have shape \(3,\); expected \(3, 2\)"
    for loss in (MSE, HUBER, POISSON):
        yield loss, (two, y), ValueError, r"targets have shape \(3,\); expected \(3, 2\)"
        yield loss, (z, y.astype(bool)), TypeError, "targets have dtype bool"


@pytest.mark.parametrize(("loss", "arguments", "error", "message"), list(refused()))
def test_refuses(loss, arguments, error, message):
    with pytest.raises(error, match=message):
        loss(*arguments)


@pytest.mark.parametrize(
    ("loss", "targets", "width", "message"),
    [
        (BCE, [0, 1, 2], 1, "labels hold 2; expected 0 and 1.* take SoftmaxCrossEntropy"),
        (BCE, [0, 1, -1], 1, "labels hold -1; expected 0 and 1"),
        (BCE, [0.5, 1, np.nan], 1, "labels hold values that are not finite"),
        (BCE, [0, 1, 1], 2, r"has 2 outputs a row; expected 1 .* Dense\(..., 1\).* \(3, 2\)"),
        (BCE, [[0], [1], [1]], 2, r"2 outputs a row; expected 1 .*\(3, 1\) .* SoftmaxCrossEntropy"),
        (BCE, np.eye(3), 2, r"labels have shape \(3, 3\); expected \(3, 2\)"),
        (BCE, np.eye(3)[:, :2], 1, r"labels have shape \(3, 2\); .* labels.argmax\(axis=1\)"),
        (BCE, [[0, 1], [1, 1], [0, 2]], 2, "labels hold 2; expected 0 and 1"),
        (POISSON, [0, 1, -2], 1, r"targets hold -2; expected counts or rates, >= 0.* Huber\(\)"),
        (POISSON, [0, 1, np.nan], 1, "targets hold values that are not finite"),
        (HUBER, [0, 1, np.inf], 1, "targets hold values that are not finite"),
        (MSE, [0, 1, np.inf], 1, "targets hold values that are not finite"),
        (MSE, [0, 1, 1], 2, r"targets have shape \(3,\); expected \(3, 2\)"),
    ],
)
def test_check_refuses_a_whole_set(loss, targets, width, message):
    with pytest.raises(ValueError, match=message):
        loss.check(np.array(targets), 3, width)


def test_check_takes_what_a_call_takes():
    BCE.check(np.array([[0, 1], [1.0, 0.5], [0, 0]]), 3, 2)
    BCE.check(np.array([0, 1, 1]), 3, 1)
    POISSON.check(np.array([0, 1, 7]), 3, 1)
    HUBER.check(np.array([[-1, 2], [3, 4]]), 2, 2)
