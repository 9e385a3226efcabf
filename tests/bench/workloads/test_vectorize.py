"""Logistic regression by loops, products and one pass, against a float64 oracle of its own."""

from __future__ import annotations

import numpy as np
import pytest
from onepass.bench.cases.sizes import LOGISTIC as SHAPES
from onepass.bench.workloads.vectorize import (
    Logistic,
    array_logistic,
    loop_logistic,
    numba_logistic,
)

LOGISTIC = [Logistic(*shape) for shape in SHAPES]


def by_loop(x, y, w, b):
    return loop_logistic(x.tolist(), y.tolist(), w.tolist(), b)


WAYS = {"loop": by_loop, "array": array_logistic, "numba": numba_logistic}


def oracle(x, y, w, b):
    """Course notes, with columns as samples: Z = w.T X + b; the cost by logaddexp."""
    columns, w = x.T.astype(np.float64), w.astype(np.float64)[:, None]
    z = (w.T @ columns + b)[0]
    a = 0.5 * (1 + np.tanh(z / 2))
    cost = np.mean(y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z))
    return cost, columns @ (a - y) / len(y), np.mean(a - y)


def problem(samples, features, scale=1.0, dtype="float64"):
    draw = np.random.default_rng(samples + features)
    x = draw.standard_normal((samples, features)).astype(dtype)
    y = draw.integers(0, 2, samples).astype(dtype)
    return x, y, (scale * draw.standard_normal(features)).astype(dtype), 0.3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 7), (5, 64), (100, 10), (203, 33)])
@pytest.mark.parametrize("way", WAYS)
def test_ways_follow_the_oracle(way, shape, dtype):
    given = problem(*shape, dtype=dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-12
    for found, expected in zip(WAYS[way](*given), oracle(*given), strict=True):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("way", WAYS)
def test_large_logits_stay_finite(way):
    x, y, w, b = problem(50, 8, scale=400.0, dtype="float32")
    given = x, y, w, b
    assert np.abs(x @ w).max() > 1000
    for found, expected in zip(WAYS[way](*given), oracle(*given), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_the_slope_of_the_cost(way):
    x, y, w, b = problem(37, 6)
    _, dw, db = WAYS[way](x, y, w, b)
    step = 1e-5
    for j in range(len(w)):
        moved = np.eye(len(w))[j] * step
        up, down = (WAYS[way](x, y, w + sign * moved, b)[0] for sign in (1, -1))
        assert dw[j] == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-9)
    up, down = (WAYS[way](x, y, w, b + sign * step)[0] for sign in (1, -1))
    assert db == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_inputs_are_left_untouched(way):
    given = problem(10, 4)
    kept = [np.copy(array) for array in given]
    WAYS[way](*given)
    for array, before in zip(given, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_workloads():
    assert [work.label for work in LOGISTIC] == ["100 x 10", "1000 x 64", "10000 x 784"]
    assert ["loop" in work.paths for work in LOGISTIC] == [True, True, False]
    assert len({work.id for work in LOGISTIC}) == len(LOGISTIC)
    small = LOGISTIC[0]
    assert (small.section, small.operation) == ("vectorize", "logistic regression")
    assert (small.size, small.bytes) == (1000, 4 * (1000 + 100 + 20))


@pytest.mark.parametrize("work", LOGISTIC, ids=lambda work: work.label)
def test_prepare_checks_and_counts(work):
    candidates = work.prepare(work.paths)
    assert tuple(candidates) == work.paths
    assert candidates["numba"].moved == work.bytes
    assert candidates["array"].moved == work.bytes + 4 * work.size


def test_prepare_refuses_wrong_numbers(monkeypatch):
    from onepass.bench.workloads import vectorize as logistic

    def wrong(x, y, w, b):
        cost, dw, db = array_logistic(x, y, w, b)
        return cost, dw * 1.01, db

    monkeypatch.setattr(logistic, "numba_logistic", wrong)
    with pytest.raises(AssertionError, match="dw by 'numba'"):
        Logistic(100, 10).prepare(["numba"])
