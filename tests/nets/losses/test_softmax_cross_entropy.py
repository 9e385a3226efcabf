"""Softmax cross-entropy: values, gradient, stability, labels that are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases.layers import gradient_ratio
from hypothesis import given
from hypothesis import strategies as st
from onepass.nets import SoftmaxCrossEntropy
from oracles import losses as loss_oracles

LOSS = SoftmaxCrossEntropy()


def by_hand(logits, labels):
    """The formula row by row with Python floats, for logits small enough not to overflow."""
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        total = math.fsum(math.exp(z) for z in row)
        losses.append(-math.log(math.exp(row[label]) / total))
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (7, 2), (64, 10)])
def test_equals_the_formula_by_hand(shape):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal(shape), rng.integers(0, shape[1], shape[0])
    value, gradient = LOSS(logits, labels)
    assert float(value) == pytest.approx(by_hand(logits, labels), rel=1e-13, abs=1e-15)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-15)


def test_gradient_by_two_sided_differences():
    rng = np.random.default_rng(1)
    logits, labels = rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    _, gradient = LOSS(logits, labels)
    assert gradient_ratio(lambda: float(LOSS(logits, labels)[0]), logits, gradient) < 1e-7


@pytest.mark.parametrize("shape", [(1, 4), (7, 2), (64, 10)])
def test_weights_of_rows(shape):
    rng = np.random.default_rng(4)
    logits, labels = rng.standard_normal(shape), rng.integers(0, shape[1], shape[0])
    weights = rng.uniform(0.1, 3.0, shape[0])
    value, gradient = LOSS(logits, labels, weights)
    expected, derivative = loss_oracles.softmax_cross_entropy(logits, labels, weights)
    assert float(value) == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient, derivative, rtol=1e-12, atol=1e-15)
    ratio = gradient_ratio(lambda: float(LOSS(logits, labels, weights)[0]), logits, gradient)
    assert ratio < 1e-7


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.1, 0.5])
@pytest.mark.parametrize("shape", [(1, 1), (7, 2), (64, 10)])
def test_smoothed_labels_are_targets_that_every_class_has_a_part_of(shape, smoothing, weighted):
    """J = mean over rows of -w (t . log p), by the losses of all labels."""
    rng = np.random.default_rng(4)
    logits, labels = rng.standard_normal(shape), rng.integers(0, shape[1], shape[0])
    weights = rng.uniform(0.1, 3.0, shape[0]) if weighted else None
    loss = SoftmaxCrossEntropy(label_smoothing=smoothing)
    value, gradient = loss(logits, labels, weights)
    every = [(1 - smoothing, labels)]
    every += [(smoothing / shape[1], np.full(shape[0], k)) for k in range(shape[1])]
    parts = [(s, loss_oracles.softmax_cross_entropy(logits, k, weights)) for s, k in every]
    expected = math.fsum(s * mean for s, (mean, _) in parts)
    assert float(value) == pytest.approx(expected, rel=1e-12, abs=1e-15)
    derivative = sum(s * each for s, (_, each) in parts)
    np.testing.assert_allclose(gradient, derivative, rtol=1e-11, atol=1e-15)
    if shape[1] > 1:  # one class has no gradient
        ratio = gradient_ratio(lambda: float(loss(logits, labels, weights)[0]), logits, gradient)
        assert ratio < 1e-7
    assert loss.measure(logits, labels) == LOSS.measure(logits, labels)


@given(st.floats(0, 0.99), st.integers(1, 9), st.integers(0, 99))
def test_smoothing_is_linear_between_labels_and_all_classes_alike(smoothing, width, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.standard_normal((5, width)), rng.integers(0, width, 5)
    ends = [LOSS(logits, labels), SoftmaxCrossEntropy(0.5)(logits, labels)]
    found = SoftmaxCrossEntropy(smoothing)(logits, labels)
    for plain, half, ours in zip(*ends, found, strict=True):
        np.testing.assert_allclose(ours, plain + 2 * smoothing * (half - plain), atol=1e-13)
    np.testing.assert_allclose(found[1].sum(axis=1), 0, atol=1e-15)


@pytest.mark.parametrize("weighted", [False, True])
def test_smoothed_labels_equal_pytorch(weighted):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((20, 6)), rng.integers(0, 6, 20)
    weights = rng.uniform(0.1, 3, 20) if weighted else np.ones(20)
    z = torch.tensor(logits, requires_grad=True)
    kind = torch.nn.CrossEntropyLoss(label_smoothing=0.2, reduction="none")
    expected = (kind(z, torch.tensor(labels)) * torch.tensor(weights)).mean()
    expected.backward()
    value, gradient = SoftmaxCrossEntropy(0.2)(logits, labels, weights)
    assert float(value) == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_each_device_smooths_labels_as_the_cpu(reference):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((20, 6)), rng.integers(0, 6, 20)
    loss, weights = SoftmaxCrossEntropy(0.2), rng.uniform(0.1, 3, 20)
    expected = loss.with_metric(logits, labels, weights)
    found = loss.with_metric(*map(reference.asarray, (logits, labels, weights)))
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(reference.to_numpy(theirs), ours, rtol=1e-12, atol=1e-15)


def test_the_share_is_told_and_refused():
    told = [repr(SoftmaxCrossEntropy(*each)) for each in ((), (0,), (0.1,))]
    assert told == [*["SoftmaxCrossEntropy()"] * 2, "SoftmaxCrossEntropy(label_smoothing=0.1)"]
    for bad, error in ((1, ValueError), (-0.1, ValueError), (math.nan, ValueError),
                       ("0.1", TypeError), (None, TypeError), (True, TypeError)):  # fmt: skip
        with pytest.raises(error, match=r"label_smoothing is .*; expected a number in \[0, 1\)"):
            SoftmaxCrossEntropy(bad)


def test_a_subclass_need_not_make_its_parent():
    class Own(SoftmaxCrossEntropy):
        def __init__(self, name):
            self.name = name

    logits, labels = np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([1, 1])
    assert Own("mine")(logits, labels)[0] == LOSS(logits, labels)[0]


def test_the_metric_counts_right_answers():
    logits = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 1.0]])
    assert LOSS.measure(logits, np.array([1, 1, 1])) == 2
    assert LOSS.metric == "accuracy"


def test_two_classes_agree_with_logistic_regression():
    z = np.linspace(-5, 5, 11)
    labels = np.arange(11) % 2
    value, gradient = LOSS(np.stack([np.zeros(11), z], axis=1), labels)
    a = 1 / (1 + np.exp(-z))
    expected = -np.mean(labels * np.log(a) + (1 - labels) * np.log(1 - a))
    assert float(value) == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient[:, 1], (a - labels) / 11, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_large_logits_neither_overflow_nor_take_the_logarithm_of_zero(dtype):
    logits = np.array([[1e4, -1e4], [-1e4, 1e4], [6e4, 6e4]], dtype)
    value, gradient = LOSS(logits, np.array([0, 0, 1]))
    # the middle row is wrong by 2e4 logits, the last one is undecided
    assert float(value) == pytest.approx((2e4 + math.log(2)) / 3, rel=1e-3)
    expected = np.array([[0, 0], [-1, 1], [0.5, -0.5]]) / 3
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6)
    assert gradient.dtype == dtype


def test_float16_computes_in_float32():
    """A sum of exponentials times the rows is beyond float16, 65,504, here."""
    value, gradient = LOSS(np.zeros((8192, 10), np.float16), np.arange(8192) % 10)
    assert float(value) == pytest.approx(math.log(10), rel=1e-6)
    assert gradient.dtype == np.float16
    np.testing.assert_allclose(np.unique(gradient), [-0.9 / 8192, 0.1 / 8192], rtol=1e-2)


def test_adding_a_constant_to_a_row_changes_nothing():
    rng = np.random.default_rng(2)
    logits, labels = rng.standard_normal((4, 3)), np.array([0, 1, 2, 0])
    plain, shifted = LOSS(logits, labels), LOSS(logits + 1000, labels)
    assert float(shifted[0]) == pytest.approx(float(plain[0]), rel=1e-11)
    np.testing.assert_allclose(shifted[1], plain[1], rtol=1e-10, atol=1e-14)


def test_inputs_are_left_untouched():
    logits, labels = np.ones((2, 3), np.float32), np.array([0, 2], np.uint8)
    LOSS(logits, labels)
    assert (logits == 1).all()
    assert labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 3], ValueError, r"labels hold 3; expected 0\.\.2 for 3 logits"),
        ([-1, 0], ValueError, r"labels hold -1; expected 0\.\.2"),
        ([0.0, 1.0], TypeError, "labels have dtype float64; expected integers"),
        ([True, False], TypeError, "labels have dtype bool"),
        ([0], ValueError, r"labels have shape \(1,\); expected \(2,\)"),
        ([[1, 0, 0], [0, 1, 0]], ValueError, r"one-hot rows pass labels.argmax\(axis=1\)"),
        (1, ValueError, r"labels have shape \(\); expected \(2,\)"),
    ],
)
def test_refuses_labels(labels, error, message):
    with pytest.raises(error, match=message):
        LOSS(np.zeros((2, 3)), np.array(labels))


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0), (2, 3, 1)])
def test_refuses_logits(shape):
    with pytest.raises(ValueError, match=r"output has shape .*; expected \(n, C\)"):
        LOSS(np.zeros(shape), np.zeros(2, int))


def test_refuses_what_is_no_array():
    with pytest.raises(TypeError, match="output is a list"):
        LOSS([[0.0, 1.0]], np.zeros(1, int))
    with pytest.raises(TypeError, match="labels is a list"):
        LOSS(np.zeros((1, 2)), [0])


def test_each_device_agrees_with_the_cpu(reference):
    rng = np.random.default_rng(3)
    logits, labels = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    expected = LOSS(logits, labels)
    for each in (labels, reference.asarray(labels)):
        found = LOSS(reference.asarray(logits), each)
        for ours, theirs in zip(expected, found, strict=True):
            np.testing.assert_allclose(reference.to_numpy(theirs), ours, rtol=1e-12, atol=1e-15)


def test_label_out_of_range_raises_on_the_cpu_and_is_nan_on_a_gpu(reference):
    logits, labels = reference.asarray(np.zeros((3, 4))), reference.asarray(np.array([0, 4, 1]))
    if reference.device == "cpu":
        with pytest.raises(ValueError, match="labels hold 4"):
            LOSS(logits, labels)
        return
    value, gradient = LOSS(logits, labels)
    assert math.isnan(float(value))
    rows = np.isnan(reference.to_numpy(gradient)).any(axis=1)
    assert rows.tolist() == [False, True, False]
