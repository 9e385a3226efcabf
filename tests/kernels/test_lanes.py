"""Vectors with estimated division: right to two units in the last place, the same bits anywhere."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cases.optimized_code import LLVM_TYPE
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from onepass import kernels
from onepass.kernels.compiling.python_text import array_names, scalar_names
from onepass.kernels.rule_engines import numba_loops
from onepass.kernels.rules import RULES
from onepass.kernels.simd import lanes
from onepass.kernels.simd.loops import OPTIONS, inline
from oracles.rules import RULES as ORACLES
from tolerances import QUOTIENT_ULP

pytestmark = pytest.mark.skipif(not lanes.estimates(), reason="this processor has no AVX-512")
DIVIDING = [name for name, rule in RULES.items() if rule.floor]


def over(function):
    """The loop out[:] = function(a, b) over whole vectors."""
    compiled = inline(function)

    @njit(**OPTIONS)
    def loop(a, b, out):
        for i in range(0, out.size, lanes.count(out)):
            lanes.store(out, i, compiled(lanes.load(a, i), lanes.load(b, i)))

    return loop


def divided(a, b):
    return a / b


def rooted(a, b):
    return lanes.sqrt(a) + b


def largest(a, b):
    return lanes.maximum(a, b)


def size_and_sign(a, b):
    return lanes.absolute(a) * b + lanes.sign(a)


def sums(a, b):
    return a * b + b * b - a * a


divide, root, greatest, summed = map(over, (divided, rooted, largest, sums))
sized = over(size_and_sign)


@njit(**OPTIONS)
def above_half(a, b, out):
    half = out.dtype.type(0.5)
    for i in range(0, out.size, lanes.count(out)):
        lanes.store(out, i, lanes.maximum(lanes.load(a, i), half))


def ran(loop, a, b):
    size = -(-a.size // 16) * 16
    given = [np.resize(array, size) for array in (a, b)]
    out = np.empty(size, a.dtype)
    loop(*given, out)
    return out[: a.size]


# --- values ---------------------------------------------------------------------------------------
def quotients_in_ulp(a, d):
    """Errors of a / d where it and 1 / d are normal numbers, in units in the last place."""
    info, exact = np.finfo(a.dtype), np.longdouble
    with np.errstate(all="ignore"):
        want = a.astype(exact) / d.astype(exact)
        inverse = np.abs(1 / d.astype(exact))
        fit = (np.abs(want) >= 2 * info.tiny) & (np.abs(want) <= info.max / 2)
        fit &= (inverse >= info.tiny) & (np.abs(d) >= info.tiny)
    found = ran(divide, a, d)[fit]
    want = want[fit]
    return np.abs(found.astype(exact) - want) / np.spacing(np.abs(want).astype(a.dtype)).astype(
        exact
    )


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_quotients_of_all_magnitudes_and_mantissas(dtype):
    rng, info = np.random.default_rng(3), np.finfo(dtype)
    size = 400_000
    a, d = (
        np.ldexp(rng.uniform(1, 2, size), rng.integers(info.minexp, info.maxexp, size)).astype(
            dtype
        )
        for _ in range(2)
    )
    assert quotients_in_ulp(a, d).max() <= QUOTIENT_ULP
    near = np.ldexp(rng.uniform(1, 2, size), rng.integers(-8, 8, size)).astype(dtype)
    assert quotients_in_ulp(near, near[::-1].copy()).max() <= QUOTIENT_ULP


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_quotients_of_numbers_that_hypothesis_finds(dtype):
    info = np.finfo(dtype)
    width = {"float32": 32, "float64": 64}[dtype]
    top = float(info.max)
    number = st.floats(-top, top, width=width, allow_subnormal=False)

    @given(number, number.filter(bool))
    def check(a, d):
        errors = quotients_in_ulp(np.array([a], dtype), np.array([d], dtype))
        assert errors.max(initial=0) <= QUOTIENT_ULP

    check()


def special(dtype):
    info = np.finfo(dtype)
    least, top = info.smallest_subnormal, info.max
    some = [0.0, least, info.tiny / 4, info.tiny, 1.0, 2.0, np.sqrt(top), np.inf]
    values = np.array([*some, *(-value for value in some), np.nan], dtype)
    return (grid.ravel() for grid in np.meshgrid(values, values))


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_zeros_denormals_infinities_and_nan_divide_as_in_numpy(dtype):
    a, d = special(dtype)
    with np.errstate(all="ignore"):
        want = a / d
    found = ran(divide, a, d)
    assert (np.signbit(found) == np.signbit(want))[~np.isnan(want)].all()
    near = np.isfinite(want) & (want != 0)
    np.testing.assert_array_equal(found[~near], want[~near])
    least = float(np.finfo(dtype).smallest_subnormal)
    np.testing.assert_allclose(
        found[near], want[near], rtol=2 * np.finfo(dtype).eps, atol=2 * least
    )


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_roots_and_maxima_of_special_numbers_are_those_of_numpy(dtype):
    a, b = special(dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(ran(root, a, np.zeros_like(a)), np.sqrt(a))
        np.testing.assert_array_equal(ran(greatest, a, b), np.maximum(a, b))
        zeros, half = np.zeros_like(a), a.dtype.type(0.5)
        np.testing.assert_array_equal(ran(above_half, a, zeros), np.maximum(a, half))
        want = np.abs(a) + np.sign(a)
        np.testing.assert_allclose(ran(sized, a, zeros + 1), want, rtol=np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", LLVM_TYPE)
def test_a_quotient_does_not_depend_on_what_else_is_in_its_vector(dtype):
    rng = np.random.default_rng(4)
    a, d = (rng.uniform(0.5, 2, 16).astype(dtype) for _ in range(2))
    alone = ran(divide, a, d)
    for bad in (0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).smallest_subnormal):
        for place in range(16):
            other = d.copy()
            other[place] = bad
            beside = np.arange(16) != place
            np.testing.assert_array_equal(ran(divide, a, other)[beside], alone[beside])


def test_a_sum_rounds_once_with_its_second_product():
    rng = np.random.default_rng(5)
    a, b = (rng.uniform(-2, 2, 4096).astype("float32") for _ in range(2))
    wide = a.astype("float64"), b.astype("float64")
    first = (a * b + wide[1] * wide[1]).astype("float32")
    want = (first - wide[0] * wide[0]).astype("float32")
    np.testing.assert_array_equal(ran(summed, a, b), want)


# --- the same bits everywhere ---------------------------------------------------------------------
def stepped(name, size, dtype, offset=0, low=0, **options):
    """What a rule writes to elements `low` on, in arrays that begin `offset` elements later."""
    rng, rule = np.random.default_rng(6), ORACLES[name]
    values = {key: rng.uniform(0.5, 2, size).astype(dtype) for key in rule.arrays}
    arrays = [np.empty(size + 64, dtype)[offset:][: size - low] for _ in values]
    for array, value in zip(arrays, values.values(), strict=True):
        array[:] = value[low:]
    counted = {"step": 3} if "step" in rule.options else {}
    getattr(kernels, name)(*arrays, lr=0.1, **counted, **options, engine="numba")
    return [array for key, array in zip(values, arrays, strict=True) if key in rule.written]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LLVM_TYPE)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.01}, {"grad_scale": 0.7}], ids=str)
@pytest.mark.parametrize("name", ORACLES)
def test_results_do_not_depend_on_the_place_in_the_array(name, options, dtype):
    size = 101
    whole = stepped(name, size, dtype, **options)
    for offset in (1, 2, 3, 7, 15):
        for array, other in zip(whole, stepped(name, size, dtype, offset, **options), strict=True):
            np.testing.assert_array_equal(array, other)
    for low in (1, 5, 90, 100):
        for array, other in zip(whole, stepped(name, size, dtype, 0, low, **options), strict=True):
            np.testing.assert_array_equal(array[low:], other)


@pytest.mark.parametrize("name", ORACLES)
def test_results_do_not_depend_on_the_number_of_threads(set_threads, name):
    results = []
    for threads in (1, 2, 3):
        set_threads(threads)
        results.append(stepped(name, 1_000_003, "float32", threads))
    for other in results[1:]:
        for array, same in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize("name", ORACLES)
def test_nothing_is_written_beside_the_arrays(name):
    for size in (0, 1, 15, 16, 17, 33):
        for offset in range(0, 17, 3):
            kept = [np.full(size + 64, 7, "float32") for _ in ORACLES[name].arrays]
            arrays = [array[16 + offset :][:size] for array in kept]
            counted = {"step": 3} if "step" in ORACLES[name].options else {}
            getattr(kernels, name)(*arrays, lr=0.1, **counted, engine="numba")
            for array in kept:
                assert (array[: 16 + offset] == 7).all()
                assert (array[16 + offset + size :] == 7).all()


# --- machine code ---------------------------------------------------------------------------------
def blocks_of(name, dtype):
    """Runs of machine code between labels, of a rule's loop."""
    rule = RULES[name].without_decay
    compiled = njit(**OPTIONS)(numba_loops.loop(rule, False))
    compiled(*(np.zeros(4, dtype) for _ in array_names(rule)), *[1.0] * len(scalar_names(rule)))
    (text,) = compiled.inspect_asm().values()
    return re.split(r"^\.L\w+:", text, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LLVM_TYPE)
@pytest.mark.parametrize("name", DIVIDING)
def test_loops_divide_by_estimates_and_by_the_unit_only_aside(name, dtype):
    kind = {"float32": "ps", "float64": "pd"}[dtype]
    inner = [block for block in blocks_of(name, dtype) if f"vrcp14{kind}" in block]
    assert len(inner) >= 3  # with and without factors, and at the ends
    for block in inner:
        if "sqrt" in RULES[name].update.__code__.co_names:
            assert re.search(rf"vsqrt{kind}\t[^\n]*%zmm", block)
        assert not re.search("vs?div|call", block)
    assert any("prefetch" in block for block in inner)


@pytest.mark.slow
def test_code_that_lies_on_disk_is_for_one_processor_only():
    """The name of the processor and its features are in the key of what Numba keeps."""
    from numba.core.registry import cpu_target

    compiled = numba_loops.shared_loop(RULES["adam"], "float32")
    codegen = cpu_target.target_context.codegen()
    key = compiled._cache._index_key((), codegen)
    assert key[1] == codegen.magic_tuple()
    assert {"+avx512f", "+avx512dq"} <= set(key[1][2].split(","))
