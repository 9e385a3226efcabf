"""The compiled loops are SIMD: in the optimized code of every rule, arithmetic is on vectors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cases.optimized_code import LLVM_TYPE, VECTOR, optimized_code
from onepass.kernels.compiling.python_text import array_names, scalar_names
from onepass.kernels.rule_engines import numba_loops
from onepass.kernels.rules import RULES
from onepass.kernels.simd.loops import OPTIONS

pytestmark = pytest.mark.slow


def code_of(function, rule, dtype):
    """LLVM code of a rule's loop."""
    arrays = [np.zeros(4, dtype) for _ in array_names(rule)]
    return optimized_code(function, OPTIONS, (*arrays, *[1.0] * len(scalar_names(rule))))


@pytest.mark.parametrize("dtype", LLVM_TYPE)
@pytest.mark.parametrize("name", RULES)
def test_arithmetic_is_on_vectors_of_the_array_type(name, dtype):
    rule = RULES[name]
    text = code_of(numba_loops.loop(rule, False), rule, dtype)
    widths = {int(width) for width in re.findall(VECTOR.format(LLVM_TYPE[dtype]), text)}
    assert widths, f"{name} {dtype}: no vector arithmetic"
    assert max(widths) * np.dtype(dtype).itemsize >= 16, widths


def test_float32_code_computes_nothing_in_float64_inside_the_loop():
    rule = RULES["adam"]
    text = code_of(numba_loops.loop(rule, False), rule, "float32")
    assert not re.search(r"= f(?:mul|add|sub|div)[a-z ]* (?:<\d+ x )?double", text)


def test_the_check_finds_a_loop_that_is_not_vectorized():
    rule = RULES["sgd"]

    def backwards(p, g, scale, decay, keep, lr):  # each element needs the one before it
        for i in range(1, p.size):
            p[i] = p[i - 1] - g[i] * lr

    text = code_of(backwards, rule, "float64")
    assert not re.findall(VECTOR.format("double"), text)
