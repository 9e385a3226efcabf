"""The loops of activations are SIMD, tanh is right to a few units in the last place."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cases.activation import KINDS, WAYS
from cases.optimized_code import LLVM_TYPE, optimized_code, vector_bytes
from numba import njit
from onepass.kernels.activation.cpu import numba_compile, numba_loops
from onepass.kernels.activation.cpu.numba_tasks import cut
from onepass.kernels.simd import exp, log1p, tanh
from onepass.kernels.simd.loops import OPTIONS
from tolerances import TANH_ULP

pytestmark = pytest.mark.slow

FORWARD = ("apply", "apply_in_place", "apply_biased", "apply_biased_in_place")
BACKWARD = ("differentiate", "differentiate_in_place")
ARITHMETIC = tuple(kind for kind in KINDS if kind not in ("linear", "relu"))
COMPUTING = {  # kinds that have arithmetic to look for, without a bias
    FORWARD[0]: ARITHMETIC,
    FORWARD[1]: WAYS[2:],
    **dict.fromkeys(FORWARD[2:], WAYS),
    BACKWARD[0]: ARITHMETIC,
    BACKWARD[1]: WAYS[2:],
}
CHOOSING = re.compile(r"fcmp [^\n]*<(\d+) x (?:float|double)>")


def loop_of(name, kind, char):
    """The loop as a kind has it, and options to compile it afresh with."""
    which = "forward" if name in FORWARD else "backward"
    scope = numba_compile._specialized(which, kind, char).__globals__
    tasks = scope[f"{which}_tasks"].py_func.__globals__
    return tasks[name].py_func, OPTIONS


def arguments(name, dtype, stored):
    one = np.dtype(dtype).type(1)
    arrays = {"apply": 2, "apply_in_place": 1, "apply_biased": 3, "apply_biased_in_place": 2,
              "differentiate": 4, "differentiate_in_place": 3}[name]  # fmt: skip
    return (*(np.ones(64, stored) for _ in range(arrays)), one, one)


@pytest.mark.parametrize("dtype", LLVM_TYPE)
@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n, kinds in COMPUTING.items() for k in kinds]
)
def test_arithmetic_is_on_vectors_of_the_array_type(name, kind, dtype):
    function, options = loop_of(name, kind, np.dtype(dtype).char)
    text = optimized_code(function, options, arguments(name, dtype, dtype))
    assert vector_bytes(text, dtype) >= 16
    if dtype == "float32":
        assert not re.search(r"= f(?:mul|add|sub|div)[a-z ]* (?:<\d+ x )?double", text)
    assert not re.search(r"call [^\n]*@(?:exp|tanh|expm1|log1p|erfc?|copysign)f?\(", text)


@pytest.mark.parametrize("dtype", LLVM_TYPE)
@pytest.mark.parametrize("name", [*FORWARD[:2], *BACKWARD])
def test_relu_compares_whole_vectors(name, dtype):
    function, options = loop_of(name, "relu", np.dtype(dtype).char)
    text = optimized_code(function, options, arguments(name, dtype, dtype))
    widths = [int(width) for width in CHOOSING.findall(text)]
    assert max(widths, default=0) * np.dtype(dtype).itemsize >= 16


@pytest.mark.parametrize("name", COMPUTING)
def test_float16_is_widened_and_rounded_on_vectors(name):
    function, options = loop_of(name, "tanh", "e")
    text = optimized_code(function, options, arguments(name, "float32", np.uint16))
    assert vector_bytes(text, "float32") >= 16


@pytest.mark.parametrize("dtype", LLVM_TYPE)
@pytest.mark.parametrize("name", ["add", "add_four"])
def test_sums_are_on_vectors(name, dtype):
    rows = [np.ones(64, dtype) for _ in range(5 if name == "add_four" else 2)]
    text = optimized_code(getattr(numba_loops, name).py_func, OPTIONS, rows)
    assert vector_bytes(text, dtype) >= 16


# --- tanh and exp ---------------------------------------------------------------------------------
def ulps(function, exact, x):
    """The largest error of a scalar function over x, in units in the last place, and where."""

    @njit(**OPTIONS)
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    y = np.empty_like(x)
    loop(x, y)
    want = exact(x.astype(np.longdouble))
    error = np.abs(y.astype(np.longdouble) - want) / np.spacing(np.abs(want).astype(x.dtype))
    worst = error.argmax()
    return float(error[worst]), float(x[worst])


def points(far, dtype):
    small = np.logspace(-30, 0, 10_001)
    halves = np.log(2) * (np.arange(-60, 0) + 0.5)
    return np.concatenate([np.linspace(-far, 0, 1_000_003), -small, halves, halves / 2]).astype(
        dtype
    )


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_tanh_over_its_whole_range(dtype):
    x = points(25.0, dtype)
    for side in (x, -x):
        worst, where = ulps(tanh.tanh, np.tanh, side)
        assert worst <= TANH_ULP, where


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_exp_of_both_signs_over_its_whole_range(dtype):
    x = points({"float32": 87.3, "float64": 708.3}[dtype], dtype)
    for side in (x, -x):
        worst, where = ulps(exp.clamped_exp, np.exp, side)
        assert worst <= TANH_ULP, where


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_log1p_from_0_to_1(dtype):
    small = np.logspace(-37, 0, 100_001)
    u = np.concatenate([np.linspace(0, 1, 1_000_003)[1:], small]).astype(dtype)
    worst, where = ulps(log1p.log1p, np.log1p, u)
    assert worst <= TANH_ULP, where


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_exp_beyond_its_range(dtype):
    @njit(**OPTIONS)
    def loop(x):
        for i in range(x.size):
            x[i] = exp.clamped_exp(x[i])

    info = np.finfo(dtype)
    top = float(np.log(info.max))
    x = np.array([-np.inf, -2 * top, top + 1e-3 * top, 2 * top, np.inf, np.nan, 0], dtype)
    loop(x)
    assert (x[:2] <= 2 * info.tiny).all()
    assert (x[:2] >= 0).all()
    np.testing.assert_array_equal(x[2:], [np.inf, np.inf, np.inf, np.nan, 1])


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_tanh_at_the_edges(dtype):
    @njit(**OPTIONS)
    def loop(x):
        for i in range(x.size):
            x[i] = tanh.tanh(x[i])

    x = np.array([0, -0.0, 1e-30, -1e-30, 1e4, -1e4, np.inf, -np.inf, np.nan], dtype)
    found = x.copy()
    loop(found)
    tiny = np.dtype(dtype).type(1e-30)
    np.testing.assert_array_equal(found, [0, 0, tiny, -tiny, 1, -1, 1, -1, np.nan])
    assert np.signbit(found[:4]).tolist() == [False, True, False, True]


# --- how arrays are cut ---------------------------------------------------------------------------
compiled_cut = njit(**OPTIONS)(cut.py_func)


@pytest.mark.parametrize("width", [1, 3, 10, 255, 256, 257, 1_000, 100_000])
@pytest.mark.parametrize("rows", [1, 2, 31, 128, 4_096, 60_001])
def test_tasks_are_whole_rows_and_cover_all_of_them(rows, width):
    size = rows * width
    period, length, tasks = cut.py_func(size, width)
    assert compiled_cut(size, width) == (period, length, tasks)
    assert period % width == 0
    assert length % period == 0
    assert (tasks - 1) * length < size <= tasks * length
    assert tasks <= 64
