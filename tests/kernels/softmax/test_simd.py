"""The loops of softmax are SIMD, their exponential is right to a unit in the last place."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cases.optimized_code import LLVM_TYPE, optimized_code, vector_bytes
from numba import njit
from onepass.kernels.softmax.cpu import numba_loops
from tolerances import EXP_ULP

pytestmark = pytest.mark.slow

INTEGER = {"float32": r"<(\d+) x i32>", "float64": r"<(\d+) x i64>"}
FLUSHED = {"float32": -87.3, "float64": -708.3}  # from just below here, results are 0


def options(loop):
    return {"error_model": "numpy", "fastmath": loop.targetoptions["fastmath"]}


@pytest.fixture(scope="module")
def exponentials():
    loop = numba_loops.exponentials
    return njit(**options(loop))(loop.py_func)


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_exponential_over_its_whole_range(exponentials, dtype):
    rng = np.random.default_rng(0)
    x = [np.linspace(FLUSHED[dtype], 0, 1_000_003), -np.logspace(-30, 0, 10_001)]
    x = np.concatenate([*x, np.log(2) * (rng.integers(-120, 0, 10_000) + 0.5)]).astype(dtype)
    found = x.copy()
    exponentials(found)
    exact = np.exp(x.astype(np.longdouble))
    unit = np.spacing(exact.astype(dtype)).astype(np.longdouble)
    error = np.abs(found.astype(np.longdouble) - exact) / unit
    assert error.max() <= EXP_ULP, (x[error.argmax()], error.max())


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_exponential_at_the_edges(exponentials, dtype):
    least = float(np.finfo(dtype).min)
    x = np.array([0, -0.0, -np.inf, least, FLUSHED[dtype] - 0.1, np.nan, -np.nan], dtype)
    exponentials(x)
    np.testing.assert_array_equal(x, np.array([1, 1, 0, 0, 0, np.nan, np.nan], dtype))


def test_maximum_is_numpys():
    largest = njit(**options(numba_loops.largest))(numba_loops.largest.py_func)
    rng = np.random.default_rng(1)
    for dtype in LLVM_TYPE:
        for size in (1, 7, 100):
            for shift in (-5, 0, 5):
                z = (rng.standard_normal(size) + shift).astype(dtype)
                assert largest(z) == z.max()
        assert largest(np.array([-np.inf, -np.inf], dtype)) == -np.inf
        assert largest(np.array([-np.inf, np.inf, 1], dtype)) == np.inf
        assert np.isnan(largest(np.array([np.inf, np.nan], dtype)))


@pytest.mark.parametrize("dtype", LLVM_TYPE)
@pytest.mark.parametrize(
    "name", ["shift", "shift_in_place", "exponentials", "piece_total", "scale"]
)
def test_arithmetic_is_on_vectors_of_the_array_type(name, dtype):
    z, one = np.zeros(64, dtype), np.dtype(dtype).type(1)
    given = {"shift": (z, z.copy(), one), "exponentials": (z,)}.get(name, (z, one))
    loop = getattr(numba_loops, name)
    text = optimized_code(loop.py_func, options(loop), given)
    assert vector_bytes(text, dtype) >= 16
    if dtype == "float32":
        assert not re.search(r"= f(?:mul|add|sub|div)[a-z ]* (?:<\d+ x )?double", text)
    assert "@exp" not in text


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_the_maximum_is_on_vectors_of_integers(dtype):
    loop = numba_loops.largest
    text = optimized_code(loop.py_func, options(loop), (np.zeros(64, dtype),))
    compared = re.findall(r"(?:smax\.|icmp sgt )[^\n]*" + INTEGER[dtype], text)
    assert max(map(int, compared), default=0) * np.dtype(dtype).itemsize >= 16


def test_float16_is_widened_and_rounded_on_vectors():
    bits, work = np.zeros(64, np.uint16), np.zeros(64, np.float32)
    for name, given in (
        ("shift", (bits, work, np.float32(1))),
        ("scale_half", (work, bits, np.float32(1))),
    ):
        loop = getattr(numba_loops, name)
        assert vector_bytes(optimized_code(loop.py_func, options(loop), given), "float32") >= 16
