"""The normal distribution's function, in array expressions and in loops, beside the C library's."""

from __future__ import annotations

from math import erfc

import numpy as np
import pytest
from numba import njit
from onepass.kernels import normal_cdf as expressions
from onepass.kernels.simd.loops import OPTIONS
from onepass.kernels.simd.normal_cdf import normal_cdf
from tolerances import assert_close


@njit(**OPTIONS)
def in_loop(z, out):
    for i in range(z.size):
        out[i] = normal_cdf(z[i])


def by_loop(z):
    out = np.empty_like(z)
    in_loop(z, out)
    return out


@pytest.mark.parametrize("function", [expressions.normal_cdf, by_loop])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_right_in_both_tails(function, dtype):
    z = np.linspace(-12, 12, 20001).astype(dtype)
    expected = np.array([0.5 * erfc(-number / 2**0.5) for number in z.astype(float)])
    size = 1.0 + z.astype(float) ** 2  # what rounding z^2 costs
    assert_close(function(z), expected, dtype, scale=expected * size, limit=4.0)


@pytest.mark.parametrize("function", [expressions.normal_cdf, by_loop])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_out(function, dtype):
    with np.errstate(all="ignore"):
        found = function(np.array([-np.inf, -60.0, 60.0, np.inf, np.nan], dtype))
    assert (found[:2] <= np.finfo(dtype).tiny * 2).all()
    assert (found[2:4] == 1.0).all()
    assert np.isnan(found[4])
