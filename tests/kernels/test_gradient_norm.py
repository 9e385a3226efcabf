"""The global norm, where squares leave the range of float64 too."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from onepass import get_backend
from onepass.kernels import global_norm
from onepass.nets import SGD

EPS = np.finfo(float).eps


def exact(*arrays):
    """The root of the sum of squares in whole numbers, rounded once."""
    total = sum(Fraction(float(x)) ** 2 for array in arrays for x in np.ravel(array))
    if not total:
        return 0.0
    shift = 2 * ((total.numerator.bit_length() - total.denominator.bit_length()) // 2 - 64)
    root = math.isqrt(int(total / Fraction(2) ** shift))
    return float(root * Fraction(2) ** (shift // 2))


@pytest.mark.parametrize(
    "size", [1e-320, 1e-300, 1e-170, 1e-150, 1e-135, 1.0, 1e150, 1e154, 1e200, 1e300, 1e307]
)
@pytest.mark.parametrize("kind", ["one", "several", "strided", "generator"])
def test_float64_of_any_size_is_the_root_of_the_sum_of_squares(reference, size, kind):
    draw = np.random.default_rng(0).standard_normal((6, 5)) * size
    arrays = {"several": [draw[0], draw[1:, :2].copy(), np.zeros(3)], "strided": [draw[:, ::2]]}
    given = arrays.get(kind, [draw])
    moved = [get_backend(reference.device).asarray(array) for array in given]
    found = global_norm(iter(moved) if kind == "generator" else moved)
    assert found == pytest.approx(exact(*given), rel=8 * EPS, abs=1e-323)


def test_a_norm_at_the_edge_of_overflow_is_told_from_infinity():
    assert global_norm([np.full(2, 1.2e308)]) == pytest.approx(1.2e308 * math.sqrt(2), rel=4 * EPS)
    assert global_norm([np.full(4, 1.2e308)]) == math.inf
    assert global_norm([np.array([1.3e154]), np.array([1.3e154])]) == pytest.approx(
        1.3e154 * math.sqrt(2), rel=4 * EPS
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8"])
def test_nothing_and_zeros_are_0_and_what_is_not_finite_stays_so(dtype):
    assert global_norm([]) == global_norm([np.zeros(0, dtype)]) == 0
    assert global_norm([np.zeros((2, 3), dtype), np.zeros(0, dtype)]) == 0
    one = np.ones(3, dtype)
    for bad in (math.inf, -math.inf):
        one[1] = bad
        assert global_norm([np.ones(2, dtype), one]) == math.inf
    one[2] = math.nan
    assert math.isnan(global_norm([one]))


def test_clipping_brings_huge_gradients_down():
    params = np.zeros(2)
    optimizer = SGD([params], lr=1.0, clip_norm=1.0)
    optimizer.step([np.array([3e200, -4e200])])
    np.testing.assert_allclose(params, [-0.6, 0.8], rtol=8 * EPS)
