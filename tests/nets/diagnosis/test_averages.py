"""Exponentially weighted averages, against the weighted sum that they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass import get_backend
from onepass.nets import ExponentialAverage, exponential_average

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)
TINY = 1e-300  # products of smaller numbers are denormal, and not accurate


def weighted_sum(values, beta, correct_bias, start):
    """The last average as one sum: value s counts (1 - b) b^(t - s), the first b^(t - 1) or so."""
    t = len(values)
    weights = [(1 - beta) * beta ** (t - s) for s in range(1, t + 1)]
    if start == "first":
        weights[0] = beta ** (t - 1)
    elif correct_bias:
        whole = sum(weights)
        weights = [weight / whole for weight in weights]
    return sum(w * np.float64(x) for w, x in zip(weights, values, strict=True))


@pytest.mark.parametrize("start", ["zero", "first"])
@pytest.mark.parametrize("correct_bias", [True, False])
@given(values=NUMBERS, beta=st.floats(0, 0.999))
def test_is_a_weighted_sum_of_all_values(start, correct_bias, values, beta):
    average = ExponentialAverage(beta, correct_bias, start)
    for k, value in enumerate(values):
        found = average.update(value)
        assert type(found) is float
        expected = weighted_sum(values[: k + 1], beta, correct_bias, start)
        # the corrected sum divides by 1 - b^t, whose own rounding counts where it is small
        limit = 1e-12 if not correct_bias else 1e-12 / (1 - beta)
        allowed = limit * max(map(abs, values)) + TINY
        assert found == pytest.approx(expected, abs=allowed, rel=1e-11)
        assert average.value == found
    assert average.steps == len(values)


@given(value=st.floats(-1e6, 1e6), beta=st.floats(0, 0.999), n=st.integers(1, 30))
def test_of_equal_values_is_their_value(value, beta, n):
    for options in ({}, {"start": "first"}):
        found = exponential_average([value] * n, beta, **options)
        np.testing.assert_allclose(found, value, rtol=1e-11, atol=TINY)


def test_without_correction_starts_near_zero():
    corrected = exponential_average([10.0, 20.0], 0.9)
    plain = exponential_average([10.0, 20.0], 0.9, correct_bias=False)
    np.testing.assert_allclose(plain, [1.0, 2.9])
    np.testing.assert_allclose(corrected, [10.0, 2.9 / 0.19])
    first = exponential_average([10.0, 20.0], 0.9, start="first")
    np.testing.assert_allclose(first, [10.0, 11.0])


def test_the_window_is_where_weights_have_fallen_to_a_third():
    for beta in (0.5, 0.9, 0.98, 0.999):
        window = ExponentialAverage(beta).window
        assert window == pytest.approx(1 / (1 - beta))
        assert 0.2 < beta**window < 1 / np.e + 1e-9
    assert ExponentialAverage(0).window == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_arrays_of_any_dtype_and_device(reference, dtype):
    values = np.random.default_rng(0).uniform(-100, 100, (25, 3, 2)).astype(dtype)
    for options in ((0.9, True, "zero"), (0.9, False, "zero"), (0.7, True, "first")):
        expected = [weighted_sum(values[: k + 1], *options) for k in range(25)]
        found = exponential_average(reference.asarray(values), *options)
        assert isinstance(found, get_backend(reference.device).xp.ndarray)
        assert found.dtype == {"float16": "float32", "int64": "float64"}.get(dtype, dtype)
        np.testing.assert_allclose(reference.to_numpy(found), expected, rtol=3e-5, atol=1e-4)


def test_long_averages_of_float16_do_not_stand_still():
    ones = np.ones(2, "float16")
    average = ExponentialAverage(0.9999, correct_bias=False)
    for _ in range(10_000):
        found = average.update(ones)
    np.testing.assert_allclose(found, 1 - 0.9999**10_000, rtol=1e-4)


@pytest.mark.parametrize("start", ["zero", "first"])
def test_what_is_given_and_what_is_returned_stays_as_it_is(start):
    average = ExponentialAverage(0.5, start=start)
    x = np.array([1.0, 2.0])
    first = average.update(x)
    kept = first.copy()
    average.value[...] = 99
    second = average.update(np.array([5.0, 6.0]))
    np.testing.assert_array_equal(x, [1, 2])
    np.testing.assert_array_equal(first, kept)
    assert (second != kept).all()
    first[...] = 99
    np.testing.assert_array_equal(average.value, second)


def test_the_state_is_one_array():
    average = ExponentialAverage(0.5)
    average.update(np.ones(4))
    state = average._v
    average.update(np.ones(4))
    assert average._v is state


def test_single_elements_without_axes_are_arrays_too():
    average = ExponentialAverage(0.9)
    for value in (10.0, 20.0):
        found = average.update(np.array(value))
    assert float(found) == pytest.approx(2.9 / 0.19)


def test_no_values():
    assert exponential_average([]).shape == (0,)
    assert exponential_average(np.zeros((0, 3), "float32")).shape == (0, 3)
    with pytest.raises(RuntimeError, match="has averaged nothing yet"):
        _ = ExponentialAverage(0.9).value


def test_refuses_arguments():
    with pytest.raises(ValueError, match=r"beta is 1; expected a number in \[0, 1\)"):
        ExponentialAverage(1)
    with pytest.raises(ValueError, match=r"beta is -0\.1"):
        exponential_average([1.0], -0.1)
    with pytest.raises(TypeError, match="correct_bias is 1"):
        ExponentialAverage(0.9, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="start is 'one'; expected one of 'zero', 'first'"):
        ExponentialAverage(0.9, start="one")
    with pytest.raises(ValueError, match=r"values is array\(5\.\); expected a sequence"):
        exponential_average(5.0)


def test_refuses_values_unlike_those_before_and_takes_nothing_in():
    arrays, numbers = ExponentialAverage(0.9), ExponentialAverage(0.9)
    arrays.update(np.ones(3))
    numbers.update(1.0)
    for average, bad, error, message in (
        (arrays, np.ones(4), ValueError, r"x has shape \(4,\); expected \(3,\), as before"),
        (arrays, 1.0, TypeError, "x is the number 1.0; expected an array"),
        (arrays, np.ones(3, "float32"), TypeError, "x has dtype float32; expected one that aver"),
        (arrays, np.ones(3, complex), TypeError, "x has dtype complex128; expected numbers"),
        (numbers, np.ones(3), TypeError, r"x is an array of shape \(3,\); expected a number"),
        (numbers, "1", TypeError, "x is a str; expected a NumPy or CuPy array"),
        (numbers, [1.0], TypeError, "x is a list; expected a NumPy or CuPy array"),
    ):
        before = np.copy(average.value)
        with pytest.raises(error, match=message):
            average.update(bad)
        assert average.steps == 1
        np.testing.assert_array_equal(average.value, before)
