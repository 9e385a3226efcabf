"""Binary cross-entropy and the mean squared error: values, gradients, stability, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases.layers import gradient_ratio
from onepass.nets import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from oracles import losses as loss_oracles
from tolerances import GRADIENT_RATIO

BCE, MSE = BinaryCrossEntropy(), MeanSquaredError()
#        loss, its oracle, width of the output, targets for a shape
CASES = {
    "labels": (BCE, loss_oracles.binary_cross_entropy, 1, lambda r, s: r.integers(0, 2, s)),
    "soft labels": (BCE, loss_oracles.binary_cross_entropy, 1, lambda r, s: r.random(s)),
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
    kind = torch.nn.BCEWithLogitsLoss if loss is BCE else torch.nn.MSELoss
    factors = torch.tensor(weights)[:, None]
    expected = (kind(reduction="none")(z, torch.tensor(targets * 1.0)) * factors).mean()
    expected.backward()
    if not weighted:
        mean = kind()(z.detach(), torch.tensor(targets * 1.0))
        assert mean.item() == pytest.approx(expected.item())
    value, gradient = loss(output, targets, weights)
    assert float(value) == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-12, atol=1e-15)


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
    output = np.array([[1.0, 5.0], [0.0, 0.0]])
    assert MSE.measure(output, np.array([[2.0, 2.0], [0.5, 0.5]])) == 2.0 + 0.5
    assert (MSE.metric, MSE.larger_is_better) == ("mae", False)


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
    for loss, word in ((BCE, "labels"), (MSE, "targets")):
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
    yield BCE, (two, two), ValueError, r"one logit a row. For more classes take SoftmaxCross"
    yield MSE, (two, y), ValueError, r"targets have shape \(3,\); expected \(3, 2\)"
    yield MSE, (z, y.astype(bool)), TypeError, "targets have dtype bool"


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
        (BCE, [0, 1, 1], 2, r"has 2 outputs a row; expected 1 .* Dense\(..., 1\)"),
        (MSE, [0, 1, np.inf], 1, "targets hold values that are not finite"),
        (MSE, [0, 1, 1], 2, r"targets have shape \(3,\); expected \(3, 2\)"),
    ],
)
def test_check_refuses_a_whole_set(loss, targets, width, message):
    with pytest.raises(ValueError, match=message):
        loss.check(np.array(targets), 3, width)
