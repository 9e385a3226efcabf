"""The loops of batch normalization are SIMD: each is vectorized for planes, columns and ReLU."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cases.optimized_code import LLVM_TYPE, optimized_code, vector_bytes
from numba.core.codegen import CPUCodeLibrary
from onepass.kernels.batch_norm.cpu import numba_coefficients, numba_loops
from onepass.kernels.batch_norm.cpu.numba_loops import ROLES, SKEW
from onepass.kernels.compiling.parts import part
from onepass.kernels.simd.loops import OPTIONS

pytestmark = pytest.mark.slow


def arguments(name, dtype, relu):
    """Arguments of the loop `name`, with one value a channel as numbers or as columns."""
    x, zero = np.ones(64, dtype), np.dtype(dtype).type(0)
    columns, plane = np.ones(ROLES * SKEW, dtype), (zero,) * 5
    return {
        "plane_moments": (x, zero, zero),
        "column_moments": (x, columns),
        "column_moments_4": (x, x.copy(), x.copy(), x.copy(), columns),
        "plane_products": (x, x.copy(), plane, zero, relu),
        "column_products": (x, x.copy(), columns, zero, relu),
        "column_products_2": (x, x.copy(), x.copy(), x.copy(), columns, zero, relu),
        "normalize plane": (x, None, x.copy(), plane, zero, relu),
        "normalize plane beside a residual": (x, x.copy(), x.copy(), plane, zero, relu),
        "normalize columns": (x, None, x.copy(), columns, zero, relu),
        "normalize columns beside a residual": (x, x.copy(), x.copy(), columns, zero, relu),
        "differentiate plane": (x, x.copy(), x.copy(), plane, zero, relu),
        "differentiate columns": (x, x.copy(), x.copy(), columns, zero, relu),
    }[name]


LOOPS = (
    "plane_moments",
    "column_moments",
    "column_moments_4",
    "plane_products",
    "column_products",
    "column_products_2",
    "normalize plane",
    "normalize plane beside a residual",
    "normalize columns",
    "normalize columns beside a residual",
    "differentiate plane",
    "differentiate columns",
)


@pytest.mark.parametrize("relu", [False, True], ids=["linear", "relu"])
@pytest.mark.parametrize("dtype", LLVM_TYPE)
@pytest.mark.parametrize("name", LOOPS)
def test_arithmetic_is_on_vectors_of_the_array_type(name, dtype, relu):
    if relu and "moments" in name:
        pytest.skip("moments are taken before a ReLU")
    loop = getattr(numba_loops, name.split()[0])
    options = {"error_model": "numpy", "fastmath": loop.targetoptions["fastmath"]}
    text = optimized_code(loop.py_func, options, arguments(name, dtype, relu))
    assert vector_bytes(text, dtype) >= 16
    if dtype == "float32":
        assert not re.search(r"= f(?:mul|add|sub|div)[a-z ]* (?:<\d+ x )?double", text)


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_optimized_before_they_go_into_a_task(name):
    """There some of them are not vectorized, for all that surrounds them."""
    loop = getattr(numba_loops, name.split()[0])
    assert optimizes(loop) is CPUCodeLibrary._optimize_final_module
    assert optimizes(part()(loop.py_func)) is not CPUCodeLibrary._optimize_final_module


def optimizes(compiled):
    """What optimizes its code, alone."""
    return compiled._compiler.pipeline_class.library._optimize_final_module


def test_coefficients_are_worked_out_on_vectors():
    given = (np.ones(8), np.ones(8), np.ones(8))

    def deviations(m2, inv_std, eps):
        for c in range(m2.size):
            (inv_std[c],) = numba_coefficients.deviation(m2[c] / 3.0, eps[0], 1.0)

    assert vector_bytes(optimized_code(deviations, OPTIONS, given), "float64") >= 16


def test_the_check_finds_a_loop_that_is_not_vectorized():
    def backwards(x, y):  # each element needs the one before it
        for i in range(1, x.size):
            y[i] = y[i - 1] * x[i] + x[i]

    text = optimized_code(backwards, OPTIONS, (np.ones(64), np.ones(64)))
    assert vector_bytes(text, "float64") == 0
