"""Losses, penalties and the norm of gradients in a program, and what they make of extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import softmax as softmax_cases
from cases.activation import Cpu
from onepass import kernels
from onepass.kernels.program import new_recorder
from onepass.kernels.program.numba_penalty import add_clip, add_penalty
from onepass.kernels.program.program import Program
from onepass.kernels.program.stops import CARE
from oracles import losses as oracles
from tolerances import LIMITS, LOSS_LIMIT, assert_close, wide

STOP = 2  # the clock's word that says why a run ended
ONE = Cpu("numba")  # what an engine owes the checks of cases/softmax.py
NUMBERS = {
    "squared_error": oracles.mean_squared_error,
    "binary_cross_entropy": oracles.binary_cross_entropy,
    "huber": oracles.huber(1.25),
    "poisson": oracles.poisson,
}
SETTINGS = {"huber": 1.25}
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_weighted = pytest.mark.parametrize("weighted", [False, True])
each_place = pytest.mark.parametrize("in_place", [False, True])


def run(dtype, write, stops=True):
    """A recorder whose program `write` wrote, after one step; whether it stopped."""
    made = new_recorder(np.dtype(dtype), 1, stops)
    write(made)
    stopped = made.run(1) == 0
    assert bool(made.program.clock[STOP]) == stopped
    return made, stopped


# --- softmax --------------------------------------------------------------------------------------
def cross_entropy(logits, labels, weights=None, smoothing=0.0, in_place=False, stops=True):
    """(loss, gradient), the rows that are right, whether the program stopped."""
    output, gradient = logits.copy(), np.full_like(logits, np.nan)
    gradient = output if in_place else gradient
    labels = labels.astype(np.int64)
    weights = None if weights is None else weights.astype(np.float64)
    made, stopped = run(
        logits.dtype,
        lambda made: made.softmax_cross_entropy(output, labels, weights, gradient, smoothing),
        stops,
    )
    if not in_place:
        np.testing.assert_array_equal(output, logits, err_msg="logits were written")
    return (made.loss[0], gradient), made.metric[0], stopped


@each_place
@each_weighted
@each_dtype
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (7, 3), (33, 10), (128, 10), (5, 1023)], ids=str)
def test_softmax_cross_entropy_equals_the_formula(shape, dtype, weighted, in_place):
    for smoothing in (0.0, 0.2):
        case = softmax_cases.make(shape, dtype, weighted=weighted)._replace(smoothing=smoothing)
        found, right, stopped = cross_entropy(*case, in_place=in_place)
        softmax_cases.assert_right(ONE, found, *case)
        assert right == (case.logits.argmax(axis=1) == case.labels).sum()
        assert not stopped


@each_weighted
@each_dtype
def test_it_gives_the_bits_of_the_kernel(dtype, weighted):
    case = softmax_cases.make((40, 10), dtype, weighted=weighted)
    for smoothing in (0.0, 0.2):
        found, _, _ = cross_entropy(*case[:3], smoothing)
        options = {"weights": case.weights, "label_smoothing": smoothing}
        loss, gradient = kernels.softmax_cross_entropy(case.logits, case.labels, **options)
        assert found[0] == loss
        np.testing.assert_array_equal(found[1], gradient)


def test_of_equal_logits_the_first_counts_as_the_largest():
    logits = np.array([[1, 1, 1], [0, 2, 2], [0, 2, 2], [-np.inf, -np.inf, 0]], "float32")
    for labels, right in (([0, 1, 2, 2], 3), ([1, 2, 1, 0], 1), ([2, 0, 0, 1], 0)):
        assert cross_entropy(logits, np.array(labels))[1] == right


@each_dtype
def test_logits_of_1e30_have_a_finite_loss(dtype):
    logits = np.array([[1e30, -1e30, 0], [1e30, 1e30, 1e30], [-1e30, 0, 1e30]], dtype)
    for labels, loss in (([0, 1, 2], math.log(3)), ([1, 1, 0], 4e30 + math.log(3))):
        labels = np.array(labels)
        found, _, stopped = cross_entropy(logits, labels)
        assert not stopped
        assert found[0] == pytest.approx(loss / 3, rel=1e-6)
        onehot, p = np.eye(3)[labels], np.array([[1, 0, 0], [1 / 3] * 3, [0, 0, 1]])
        assert_close(found[1], (p - onehot) / 3, dtype, limit=LOSS_LIMIT, scale=1 / 3)


EXTREMES = {
    "nan": (np.nan, 0, 0),
    "inf": (np.inf, 0, 0),
    "-inf in the class": (0, -np.inf, 0),
    "-inf everywhere": (-np.inf, -np.inf, -np.inf),
}


@each_weighted
@each_dtype
@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("name", EXTREMES)
def test_a_softmax_that_is_not_finite_stops_the_program(name, stops, dtype, weighted):
    logits, labels = softmax_cases.example((5, 3), dtype)
    logits[3], labels[3] = EXTREMES[name], 1
    weights = np.ones(5) if weighted else None
    found, _, stopped = cross_entropy(logits, labels, weights, stops=stops)
    assert not np.isfinite(found[0])
    assert stopped == stops
    assert np.isfinite(found[1][[0, 1, 2, 4]]).all()


@each_dtype
def test_a_logit_of_minus_inf_elsewhere_is_a_class_that_never_comes(dtype):
    logits, labels = softmax_cases.example((5, 3), dtype)
    logits[3], labels[3] = (0, -np.inf, 0), 0
    found, _, stopped = cross_entropy(logits, labels)
    softmax_cases.assert_right(ONE, found, logits, labels)
    assert not stopped


# --- losses of numbers ----------------------------------------------------------------------------
def loss_of_numbers(name, output, targets, weights=None, in_place=False, stops=True):
    """loss, gradient, metric added up over rows, whether the program stopped."""
    given, gradient = output.copy(), np.full_like(output, np.nan)
    gradient = given if in_place else gradient
    made, stopped = run(
        output.dtype,
        lambda made: made.loss_of_numbers(
            name, given, targets, weights, gradient, SETTINGS.get(name, 0.0)
        ),
        stops,
    )
    if not in_place:
        np.testing.assert_array_equal(given, output, err_msg="outputs were written")
    return made.loss[0], gradient, made.metric[0], stopped


def numbers(name, dtype, rows, weighted):
    """output, targets, weights."""
    rng = np.random.default_rng(rows)
    width = 1 + rows % 3
    output = (3 * rng.standard_normal((rows, width))).astype(dtype)
    targets = rng.standard_normal((rows, width))
    if name == "binary_cross_entropy":
        shape = (rows, width)
        targets = np.where(rng.random((rows, 1)) < 0.5, rng.integers(0, 2, shape), targets % 1)
    if name == "poisson":
        targets = np.where(
            targets > 0, np.exp(wide(output) + targets / 5), rng.poisson(2, (rows, width))
        )
    weights = rng.uniform(0.1, 3, rows).astype(dtype) if weighted else None
    return output, targets.astype(dtype), weights


@each_place
@each_weighted
@each_dtype
@pytest.mark.parametrize("rows", [1, 2, 7, 128, 1023])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_loss_of_numbers_equals_the_formula(name, rows, dtype, weighted, in_place):
    output, targets, weights = numbers(name, dtype, rows, weighted)
    loss, gradient, metric, stopped = loss_of_numbers(name, output, targets, weights, in_place)
    z, y = wide(output), wide(targets)
    w = np.ones(rows) if weights is None else wide(weights)
    expected, derivative = NUMBERS[name](z, y, weights)
    eps = float(np.finfo(dtype).eps)
    if name == "huber":
        far, delta = np.abs(z) + np.abs(y), SETTINGS[name]
        size = w[:, None] * np.minimum(far, delta) * far / z.size
        slope = w[:, None] * far / z.size
        measured = np.abs(z - y).mean(axis=1).sum()
    elif name == "poisson":
        size = w[:, None] * (np.exp(z) + y) * (1 + np.abs(z)) / z.size
        slope = w[:, None] * (np.exp(z) + y) / z.size
        measured = np.abs(np.exp(z) - y).mean(axis=1).sum()
    elif name == "squared_error":
        cancelled = np.abs(z) + np.abs(y)
        size = w[:, None] * cancelled**2 / z.size
        slope = 2 * w[:, None] * cancelled / z.size
        measured = np.abs(z - y).mean(axis=1).sum()
    else:
        size = w[:, None] * (1 + np.abs(z)) / rows
        slope = 0.0 if set(targets.flat) <= {0, 1} else w[:, None] / rows
        measured = ((z > 0) == (y > 0.5)).all(axis=1).sum()
    assert abs(loss - expected) <= LOSS_LIMIT * eps * size.sum()
    assert_close(gradient, derivative, dtype, limit=LOSS_LIMIT, scale=slope, flushed=True)
    assert metric == pytest.approx(measured, rel=LOSS_LIMIT * eps)
    assert not stopped


def test_a_row_is_right_where_logit_and_label_are_above_the_middle_or_neither():
    output = np.array([[1], [1], [0], [0], [-1], [-1], [2], [-2]], "float32")
    targets = np.array([[1], [0], [1], [0], [1], [0], [0.5], [0.5]], "float32")
    right = [1, 0, 0, 1, 0, 1, 0, 1]
    for k in range(8):
        metric = loss_of_numbers("binary_cross_entropy", output[k:][:1], targets[k:][:1])[2]
        assert metric == right[k], k


def test_a_row_of_several_labels_is_right_where_all_of_them_are():
    output = np.array([[1, -1, 2], [1, -1, 2], [-1, -1, -1], [1, 1, 1]], "float32")
    targets = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 1]], "float32")
    for k, right in enumerate([1, 0, 1, 0]):
        assert loss_of_numbers("binary_cross_entropy", output[k:][:1], targets[k:][:1])[2] == right
    assert loss_of_numbers("binary_cross_entropy", output, targets)[2] == 2


@each_dtype
@pytest.mark.parametrize("delta", [1e-3, 1.0, 1e30, 1e300])
def test_an_error_beyond_delta_costs_a_line(delta, dtype):
    output, zeros = np.array([[30.0], [-1e4], [0.5]], dtype), np.zeros((3, 1), dtype)
    gradient = np.empty_like(output)
    made, stopped = run(
        dtype, lambda made: made.loss_of_numbers("huber", output, zeros, None, gradient, delta)
    )
    expected, derivative = oracles.huber(delta)(output, zeros)
    assert made.loss[0] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, derivative, rtol=1e-6)
    assert not stopped


@each_dtype
def test_poisson_of_extremes_in_a_program(dtype):
    output = np.array([[-1e3], [-1e3], [0], [1], [-np.inf]], dtype)
    targets = np.array([[0], [2], [0], [1], [0]], dtype)
    expected = [0, 2 * math.log(2) - 2 + 2e3, 1, math.e - 2, 0]
    for k in range(5):
        loss, gradient, _, stopped = loss_of_numbers("poisson", output[k:][:1], targets[k:][:1])
        assert loss == pytest.approx(expected[k], rel=1e-6), k
        assert gradient[0, 0] == pytest.approx([0, -2, 1, math.e - 1, 0][k], rel=1e-6), k
        assert not stopped
    loss, _, _, stopped = loss_of_numbers("poisson", np.full((1, 1), 1e4, dtype), targets[:1])
    assert loss == math.inf
    assert stopped


@each_dtype
def test_a_logit_of_1e30_has_a_finite_loss_and_keeps_the_gradient(dtype):
    output = np.array([[1e30], [1e30], [-1e30], [-1e30]], dtype)
    targets = np.array([[1], [0], [1], [0]], dtype)
    loss, gradient, _, stopped = loss_of_numbers("binary_cross_entropy", output, targets)
    assert loss == pytest.approx(5e29, rel=1e-6)
    assert gradient.tolist() == [[0], [0.25], [-0.25], [0]]
    assert not stopped


def test_an_error_of_1e30_is_beyond_float32_and_within_float64():
    for dtype, finite in (("float32", False), ("float64", True)):
        output, targets = np.array([[1e30], [1.0]], dtype), np.array([[-1e30], [1.0]], dtype)
        loss, gradient, metric, stopped = loss_of_numbers("squared_error", output, targets)
        assert loss == (pytest.approx(2e60, rel=1e-6) if finite else math.inf)
        assert stopped != finite
        assert gradient.ravel().tolist() == pytest.approx([2e30, 0], rel=1e-6)
        assert metric == pytest.approx(2e30, rel=1e-6)


@each_dtype
@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_loss_of_numbers_that_is_not_finite_stops_the_program(name, bad, stops, dtype):
    output, targets, weights = numbers(name, dtype, 5, True)
    output[3, 0], targets[3, 0] = (np.inf if (name, bad) == ("poisson", -np.inf) else bad), 0.5
    loss, gradient, _, stopped = loss_of_numbers(name, output, targets, weights, stops=stops)
    assert not np.isfinite(loss)
    assert stopped == stops
    assert np.isfinite(gradient[[0, 1, 2, 4]]).all()


# --- penalties ------------------------------------------------------------------------------------
PENALTIES = {"l1": (np.abs, np.sign), "l2": (np.square, lambda w: w)}


def penalize(name, weights, gradients, factor, slope, before=0.5):
    """The loss after, and whether the program stopped; `gradients` are written."""
    program, loss = Program(), np.array([before])
    add_penalty(program, name, weights, gradients, factor, slope, loss)
    kept = weights.copy()
    stopped = program.run(1) == 0
    np.testing.assert_array_equal(weights, kept, err_msg="weights were written")
    return loss[0], stopped


@each_dtype
@pytest.mark.parametrize("size", [1, 7, 64, 1023, 10_000])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_equals_the_formula(name, size, dtype):
    rng = np.random.default_rng(size)
    weights, gradients = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    weights[::5] = 0
    weights[::10] = -0.0
    of_size, derivative = PENALTIES[name]
    w, g = wide(weights), wide(gradients)
    factor, slope = 0.37, 0.11
    loss, stopped = penalize(name, weights, gradients, factor, slope)
    assert loss == pytest.approx(0.5 + factor * of_size(w).sum(), rel=size * 2.0**-53 + 1e-15)
    assert_close(
        gradients, g + slope * derivative(w), dtype, scale=np.maximum(np.abs(g), slope * np.abs(w))
    )
    assert not stopped


@pytest.mark.parametrize("name", PENALTIES)
def test_a_recorder_s_penalty_is_over_arrays_of_any_shape_and_each_step_s_own_loss(name):
    of_size, derivative = PENALTIES[name]
    rng = np.random.default_rng(0)
    weight, grads = rng.standard_normal((4, 3)), np.zeros((4, 3))
    made = new_recorder(np.dtype("float64"), 3)
    output, zeros = rng.standard_normal((2, 1)), np.zeros((2, 1))
    made.loss_of_numbers("squared_error", output, zeros, None, np.empty((2, 1)))
    made.penalty(name, weight, grads, 0.25, 0.5)
    assert made.run(3) == 3
    loss = np.square(output).mean() + 0.25 * of_size(weight).sum()
    np.testing.assert_allclose(made.loss, [loss] * 3, rtol=1e-14)
    np.testing.assert_allclose(grads, 3 * 0.5 * derivative(weight), rtol=1e-14)


@each_dtype
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_that_is_not_finite_stops_the_program(name, bad, dtype):
    weights, gradients = np.ones(37, dtype), np.zeros(37, dtype)
    weights[20] = bad
    loss, stopped = penalize(name, weights, gradients, 0.5, 0.5)
    assert not np.isfinite(loss)
    assert stopped
    derivative = 0.5 if (name, bad) == ("l1", np.inf) else bad
    np.testing.assert_array_equal(gradients[20], derivative)


def test_squares_of_float32_are_added_up_in_float64():
    weights, gradients = np.full(1000, 1e25, "float32"), np.zeros(1000, "float32")
    loss, stopped = penalize("l2", weights, gradients, 0.5, 0.0)
    assert loss == pytest.approx(0.5e53, rel=1e-6)
    assert not stopped


# --- the norm of gradients ------------------------------------------------------------------------
def clipped(gradients, most, scale):
    """What becomes of the factor on gradients, and the word that stopped the program.

    Two groups have it, one with another sign, beside coefficients that stay.
    """
    program, coefficients = Program(), np.array([[scale, 7.0, 8.0], [-scale, 9.0, 10.0]])
    add_clip(program, gradients, most, coefficients)
    kept = gradients.copy()
    ended = program.run(1)
    np.testing.assert_array_equal(gradients, kept, err_msg="gradients were written")
    assert (ended == 1) == (program.clock[STOP] == 0)
    assert coefficients[:, 1:].tolist() == [[7.0, 8.0], [9.0, 10.0]]
    assert coefficients[0, 0] == -coefficients[1, 0]
    return coefficients[0, 0], program.clock[STOP]


@each_dtype
@pytest.mark.parametrize("scale", [1.0, -1.0, 0.5, 1e-3])
@pytest.mark.parametrize("most", [1e-3, 1.0, 20.0, 1e6])
@pytest.mark.parametrize("size", [1, 9, 1023])
def test_clipping_brings_the_norm_down_to_the_most(size, most, scale, dtype):
    gradients = np.random.default_rng(size).standard_normal(size).astype(dtype)
    norm = abs(scale) * math.sqrt(math.fsum(wide(gradients) ** 2))
    found, stop = clipped(gradients, most, scale)
    assert stop == 0
    expected = scale * min(1.0, most / norm)
    assert found == pytest.approx(expected, rel=LIMITS["float64"][1] * 2.0**-52)
    if norm <= most:
        assert found == scale


@each_dtype
def test_gradients_of_zero_are_left_alone(dtype):
    assert clipped(np.zeros(9, dtype), 0.5, 1.0) == (1.0, 0)


BEYOND = {
    "huge": ("float64", 1e200),
    "tiny": ("float64", 1e-150),
    "nan": ("float64", np.nan),
    "inf": ("float64", np.inf),
    "nan of float32": ("float32", np.nan),
    "-inf of float32": ("float32", -np.inf),
}


@pytest.mark.parametrize("name", BEYOND)
def test_squares_beyond_float64_ask_for_care_and_leave_the_factor(name):
    dtype, value = BEYOND[name]
    gradients = np.full(9, value, dtype)
    gradients[4] = 0
    assert clipped(gradients, 0.5, 0.25) == (0.25, CARE)


@pytest.mark.parametrize("value", [3e38, 1e-38, 1e-45])
def test_no_float32_is_beyond(value):
    gradients = np.full(9, value, "float32")
    norm = 3 * float(gradients[0])
    assert clipped(gradients, norm / 4, 1.0) == (pytest.approx(0.25, rel=1e-6), 0)
