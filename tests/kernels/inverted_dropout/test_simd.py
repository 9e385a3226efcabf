"""The loops of dropout are SIMD: the generator on 64-bit integers, the rest on the arrays' type."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cases.optimized_code import LLVM_TYPE, optimized_code, vector_bytes
from onepass.kernels.compiling.specialize import specialize
from onepass.kernels.inverted_dropout.cpu import numba_loops
from onepass.kernels.inverted_dropout.philox import philox_round
from onepass.kernels.simd.loops import OPTIONS, inline

pytestmark = pytest.mark.slow

MULTIPLIED = r"= mul [a-z ]*<(\d+) x i64>"
SCALAR = r"= mul [a-z ]*i64 "
LOOPS = ("mask", "mask_in_place")
WORD = np.uint64(3)


@inline
def nothing(*arguments):
    """In the place of the loop that is not looked at."""


def code_of(loop, stored, computed):
    """Of `drop`, as it is compiled for a dtype, with one loop over elements."""
    other = {name: nothing for name in LOOPS if name != loop}
    drop = specialize(numba_loops.drop, COMPUTED=computed, **other)
    x = np.ones(64, stored)
    given = (x, x.copy(), 0, 1, 2, 3, 2.0)
    return optimized_code(drop, OPTIONS, given)


def test_the_generator_multiplies_vectors():
    given = np.zeros(256, np.uint32), WORD, WORD, WORD
    text = optimized_code(numba_loops.generate.py_func, OPTIONS, given)
    widths = list(map(int, re.findall(MULTIPLIED, text)))
    assert len(widths) >= 2 * numba_loops.ROUNDS - 2, "of the first round half is one for all"
    assert min(widths) * 8 >= 16


def test_a_loop_that_is_not_simd_is_seen():
    def generate(bits, first, seed, draw):
        for k in range(bits.size // 4):
            if bits[k] == 7:  # what was written decides what is computed
                break
            call = (first + np.uint64(k)) ^ seed
            bits[4 * k] = np.uint32(((call & np.uint64(0xFFFFFFFF)) * draw) >> np.uint64(32))

    given = np.zeros(256, np.uint32), WORD, WORD, WORD
    text = optimized_code(generate, OPTIONS, given)
    assert not re.search(MULTIPLIED, text)
    assert re.search(SCALAR, text)


@pytest.mark.parametrize("dtype", LLVM_TYPE)
@pytest.mark.parametrize("loop", LOOPS)
def test_elements_are_multiplied_on_vectors_of_the_array_type(loop, dtype):
    text = code_of(loop, dtype, np.dtype(dtype).type)
    assert vector_bytes(text, dtype) >= 16
    assert max(map(int, re.findall(MULTIPLIED, text))) * 8 >= 16
    if dtype == "float32":
        assert not re.search(r"= f(?:mul|add|sub|div)[a-z ]* (?:<\d+ x )?double", text)


@pytest.mark.parametrize("loop", LOOPS)
def test_float16_is_widened_and_rounded_on_vectors(loop):
    assert vector_bytes(code_of(loop, np.uint16, np.float32), "float32") >= 16


def test_the_generator_is_the_one_formula():
    assert numba_loops._round.py_func is philox_round
