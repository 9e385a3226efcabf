"""Input normalization: the formula, large means, constant features, state, refusals."""

from __future__ import annotations

import json
import sys
from math import fsum, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onepass import get_backend
from onepass.nets import Normalizer
from onepass.nets.data import normalizer as normalization

TABLES = hnp.arrays(
    "float64",
    st.tuples(st.integers(1, 12), st.integers(1, 4)),
    elements=st.floats(-1e6, 1e6).map(lambda value: round(value, 3)),
)


def oracle(x):
    """Mean and deviation of each feature, by exactly rounded sums in Python."""
    means, deviations = [], []
    for column in np.asarray(x, "float64").T.tolist():
        mean = fsum(column) / len(column)
        deviation = sqrt(fsum((value - mean) ** 2 for value in column) / len(column))
        means.append(mean)
        rounding = len(column) * sys.float_info.epsilon
        constant = deviation**2 <= rounding * deviation**2 + (rounding * mean) ** 2
        deviations.append(1.0 if len(set(column)) == 1 or constant else deviation)
    return np.array(means), np.array(deviations)


@given(x=TABLES)
def test_is_the_formula(x):
    mean, deviation = oracle(x)
    normalizer = Normalizer().fit(x)
    np.testing.assert_allclose(normalizer.mean, mean, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(normalizer.deviation, deviation, rtol=1e-6)
    found = normalizer.apply(x)
    np.testing.assert_allclose(found, (x - mean) / deviation, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(normalizer.inverse(found), x, rtol=1e-9, atol=1e-9)


@given(x=TABLES)
def test_of_its_own_set_means_are_0_and_deviations_1_or_0(x):
    found = Normalizer().fit(x).apply(x)
    constant = (x == x[0]).all(axis=0)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=0), np.where(constant, 0, 1), rtol=1e-5)
    assert not found[:, constant].any(), "constant features are exactly 0"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64", "bool"])
def test_dtypes_and_devices(reference, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2 if dtype == "bool" else 200, (50, 3)).astype(dtype)
    on = reference.asarray(x)
    normalizer = Normalizer().fit(on)
    assert isinstance(normalizer.mean, np.ndarray)
    assert normalizer.mean.dtype == normalizer.deviation.dtype == np.float64
    mean, deviation = oracle(x)
    found = normalizer.apply(on)
    assert isinstance(found, get_backend(reference.device).xp.ndarray)
    assert found.dtype == (dtype if dtype.startswith("float") else "float32")
    expected = (x.astype("float64") - mean) / deviation
    limit = 2e-3 if dtype == "float16" else 1e-6
    np.testing.assert_allclose(reference.to_numpy(found), expected, atol=limit)
    back = reference.to_numpy(normalizer.inverse(found))
    np.testing.assert_allclose(back, x.astype("float64"), rtol=limit, atol=150 * limit)
    np.testing.assert_array_equal(reference.to_numpy(on), x)


def test_a_large_mean_beside_a_small_deviation_does_no_harm():
    x = np.random.default_rng(0).normal(1e4, 1, (5000, 2)).astype("float32")
    mean, deviation = oracle(x)
    normalizer = Normalizer().fit(x)
    np.testing.assert_allclose(normalizer.deviation, deviation, rtol=1e-9)
    expected = (x.astype("float64") - mean) / deviation
    np.testing.assert_allclose(normalizer.apply(x), expected, atol=1e-6)


def test_many_rows_go_in_parts(monkeypatch):
    x = np.random.default_rng(0).normal(3, 2, (103, 4))
    whole = Normalizer().fit(x)
    monkeypatch.setattr(normalization, "_ROWS", 10)
    parts = Normalizer().fit(x)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(parts.deviation, whole.deviation, rtol=1e-13)
    np.testing.assert_array_equal(whole.apply(x), (x - whole.mean) / whole.deviation)


def test_other_sets_are_moved_as_the_training_set_was():
    x_train, x_dev = np.array([[1.0, 10], [3, 30]]), np.array([[5.0, 0], [2, 20], [1, 10]])
    normalizer = Normalizer().fit(x_train)
    np.testing.assert_array_equal(normalizer.apply(x_dev), [[3, -2], [0, 0], [-1, -1]])
    np.testing.assert_array_equal(normalizer.mean, [2, 20])
    assert normalizer.apply(x_dev[:0]).shape == (0, 2)


def test_constant_features_stay_at_deviation_1_without_a_warning():
    x = np.array([[0.1, 5.0, 7.0], [0.1, 5.0, 9.0], [0.1, 5.0, 8.0]])  # 3 * 0.1 / 3 is not 0.1
    normalizer = Normalizer().fit(x)
    assert normalizer.deviation[:2].tolist() == [1, 1]
    assert normalizer.mean[:2].tolist() == [0.1, 5]
    assert not normalizer.apply(x)[:, :2].any()
    np.testing.assert_allclose(normalizer.apply(x + np.array([1, 0, 0]))[:, 0], 1)
    one = Normalizer().fit(x[:1])
    assert one.deviation.tolist() == [1, 1, 1]


def shares(n=100, seed=0):
    """Shares of four parts, and their total: 1 up to rounding."""
    parts = np.random.default_rng(seed).dirichlet(np.ones(4), n)
    return np.hstack([parts, parts.sum(axis=1, keepdims=True)])


ALMOST = {
    "two texts of 0.3": np.where(np.arange(100) % 2, 0.3, 0.1 + 0.2),
    "total of shares": shares()[:, 4],
    "minus the total": -1e9 * shares()[:, 4],
    "a * b / b": 7 * np.arange(1, 501.0) / 3 / np.arange(1, 501.0),
    "sin^2 + cos^2": np.sin(np.arange(50.0)) ** 2 + np.cos(np.arange(50.0)) ** 2,
    "two rows": np.array([0.3, 0.1 + 0.2]),
}
"""Columns that are constant but for rounding."""


@pytest.mark.parametrize("name", ALMOST)
def test_columns_that_are_constant_but_for_rounding_get_deviation_1(reference, name):
    x = ALMOST[name][:, None]
    assert x.min() < x.max(), "or it would show nothing"
    normalizer = Normalizer().fit(reference.asarray(x))
    assert normalizer.deviation.tolist() == [1]
    np.testing.assert_allclose(normalizer.mean, x[0], rtol=1e-14)
    other = x.round(6) + 1e-6  # as another program may have written it
    found = reference.to_numpy(normalizer.apply(reference.asarray(other)))
    np.testing.assert_allclose(found, other - x[0], atol=1e-14 * abs(x).max())


@pytest.mark.parametrize(("mean", "deviation"), [(1, 1e-9), (1e9, 1e-3), (0, 1e-30), (-5, 1e-12)])
def test_small_differences_that_are_none_of_rounding_are_kept(mean, deviation):
    x = mean + deviation * np.random.default_rng(0).standard_normal((200, 1))
    normalizer = Normalizer().fit(x)
    np.testing.assert_allclose(normalizer.deviation, oracle(x)[1], rtol=1e-6)
    np.testing.assert_allclose(normalizer.deviation, deviation, rtol=0.2)


def test_what_comes_back_has_the_digits_of_the_mean(reference):
    x = 1.7e9 + np.arange(60.0)[:, None]
    normalizer = Normalizer().fit(x)
    small = normalizer.apply(x).astype("float32")  # as a network in float32 gives it
    back = reference.to_numpy(normalizer.inverse(reference.asarray(small)))
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, x, rtol=0, atol=60 * np.finfo("float32").eps)


def test_agrees_with_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing", reason="no scikit-learn")
    x = np.random.default_rng(0).normal(5, 3, (100, 9))
    x[:, 2] = 4.0
    x[:, 3:5] = shares()[:, 3:]
    x[:, 5] = 1 + 1e-9 * x[:, 5]
    x[:, 6] = ALMOST["two texts of 0.3"]
    scaler, normalizer = preprocessing.StandardScaler().fit(x), Normalizer().fit(x)
    np.testing.assert_allclose(normalizer.deviation, scaler.scale_, rtol=1e-12)
    np.testing.assert_allclose(normalizer.apply(x), scaler.transform(x), atol=1e-12)


def test_tiny_differences_and_huge_values():
    tiny = np.array([[1e-300], [3e-300]])  # whose squares are 0 in float64
    assert np.isfinite(Normalizer().fit(tiny).apply(tiny)).all()
    with pytest.raises(ValueError, match=r"x holds -1e\+300 to 1e\+300 in feature 1"):
        Normalizer().fit(np.array([[1.0, 1e300], [2.0, -1e300]]))
    assert Normalizer().fit(np.full((3, 1), 1e308)).mean == [1e308]


# State


def test_state_is_arrays_and_comes_back():
    x = np.random.default_rng(0).normal(5, 3, (40, 6)).astype("float32")
    normalizer = Normalizer().fit(x)
    state = json.loads(json.dumps({k: v.tolist() for k, v in normalizer.state_dict().items()}))
    again = Normalizer()
    again.load_state_dict({name: np.array(values) for name, values in state.items()})
    np.testing.assert_array_equal(again.apply(x), normalizer.apply(x))
    assert repr(again) == "Normalizer(6 features)"
    normalizer.state_dict()["mean"][...] = 99
    np.testing.assert_array_equal(again.apply(x), normalizer.apply(x))


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"mean": np.zeros(2)}, ValueError, "state lacks 'deviation'"),
        ({"mean": np.zeros(2), "deviation": np.ones(3)}, ValueError, r"expected \(2,\)"),
        ({"mean": np.zeros(2), "deviation": np.zeros(2)}, ValueError, "deviation that is not > 0"),
        ({"mean": np.full(2, np.nan), "deviation": np.ones(2)}, ValueError, "not finite"),
        ({"mean": np.zeros((2, 2)), "deviation": np.ones(4)}, ValueError, r"shape \(2, 2\)"),
        ({"mean": np.zeros(2, "float32"), "deviation": np.ones(2)}, TypeError, "has dtype float32"),
        ({"mean": [0.0], "deviation": np.ones(1)}, TypeError, "is a list; expected a NumPy array"),
        (None, TypeError, "state is a NoneType; expected a mapping"),
    ],
)
def test_refuses_states_whole(state, error, message):
    normalizer = Normalizer().fit(np.array([[1.0], [3.0]]))
    with pytest.raises(error, match=message):
        normalizer.load_state_dict(state)
    assert (normalizer.mean, normalizer.deviation) == ([2], [1])


# Bad input


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_names_the_value_that_is_not_finite(reference, bad, dtype):
    x = np.arange(20.0).reshape(5, 4).astype(dtype)
    normalizer = Normalizer().fit(x)
    x[3, 2] = bad
    message = f"x holds {bad} in row 3, feature 2; expected finite numbers"
    for call in (normalizer.apply, Normalizer().fit, normalizer.fit):
        with pytest.raises(ValueError, match=message):
            call(reference.asarray(x))
    assert normalizer.mean.tolist() == [8, 9, 10, 11], "a fit that raises has changed nothing"


def test_refuses_what_is_no_table():
    fitted = Normalizer().fit(np.ones((3, 2)))
    with pytest.raises(ValueError, match="x has no rows; expected at least one sample to fit on"):
        Normalizer().fit(np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"x has shape \(3,\); expected \(n, features\)"):
        Normalizer().fit(np.zeros(3))
    for call in (fitted.apply, fitted.inverse):
        with pytest.raises(ValueError, match=r"x has shape \(1, 3\); expected \(n, 2\), a row a"):
            call(np.zeros((1, 3)))
        with pytest.raises(TypeError, match="x is a list; expected a NumPy or CuPy array"):
            call([[1.0, 2.0]])
    with pytest.raises(TypeError, match=r"x has dtype <U1; expected numbers"):
        Normalizer().fit(np.array([["a"]]))


def test_says_that_nothing_was_fitted():
    for call in (
        lambda n: n.apply(np.ones((1, 1))),
        lambda n: n.inverse(np.ones((1, 1))),
        lambda n: n.mean,
        lambda n: n.deviation,
        lambda n: n.state_dict(),
    ):
        with pytest.raises(RuntimeError, match=r"seen no data yet; call fit\(x_train\) first"):
            call(Normalizer())
    assert repr(Normalizer()) == "Normalizer(not fitted)"


@pytest.mark.parametrize("rows", [50, 20_000])
def test_a_weight_is_how_often_a_row_counts(rows):
    rng = np.random.default_rng(0)
    x = rng.normal(1e4, 2, (rows, 3))
    x[:, 2] = 7.0
    counts = rng.integers(0, 4, rows).astype(float)
    x[counts == 0, 2] = 8.0  # constant among those that count
    found = Normalizer().fit(x, counts)
    again = Normalizer().fit(np.repeat(x, counts.astype(int), axis=0))
    np.testing.assert_allclose(found.mean, again.mean, rtol=1e-12)
    np.testing.assert_allclose(found.deviation, again.deviation, rtol=1e-9)
    assert (found.mean[2], found.deviation[2]) == (7, 1)


@pytest.mark.parametrize(
    ("weights", "told"),
    [(np.ones(2), r"shape \(2,\); expected \(3,\)"), ([1.0, -1.0, 1.0], "finite numbers >= 0"),
     (np.zeros(3), "one is > 0"), ([1.0, np.nan, 1.0], "finite numbers >= 0")],
)  # fmt: skip
def test_weights_that_count_nothing_are_refused(weights, told):
    with pytest.raises(ValueError, match=told):
        Normalizer().fit(np.arange(6.0).reshape(3, 2), np.asarray(weights))


def test_weights_of_half_precision_are_summed_up_in_float64():
    x = np.random.default_rng(0).normal(7, 2, (300, 2))
    found = Normalizer().fit(x, np.full(300, 60_000, np.float16))
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, x.std(axis=0), rtol=1e-12)
    assert Normalizer().fit(x, [1.0] * 300).mean.tolist() == found.mean.tolist()
