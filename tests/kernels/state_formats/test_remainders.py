"""Parameters in two halves: float32's own bits, over many steps."""

from __future__ import annotations

import numpy as np
import pytest
from cases.state_formats import CASES, call_arrays, parts
from hypothesis import given
from hypothesis import strategies as st
from onepass import kernels
from oracles import state_formats as oracle
from oracles.rules import RULES

SPECIAL = np.uint32(
    [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x10000, 0x7FFFFF, 0x800000, 0x3F7FFFFF, 0x3F800000,
     0x3F808000, 0x3F807FFF, 0x3F817FFF, 0x3F818000, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000]
)  # fmt: skip


def through(reference, values):
    param, rest = kernels.split_param(reference.asarray(values))
    upper = reference.to_numpy(param).view(np.uint16)
    joined = reference.to_numpy(kernels.join_param(param, rest))
    return upper, reference.to_numpy(rest), joined


def assert_halves(reference, values):
    upper, rest, joined = through(reference, values)
    finite = ~np.isnan(values)
    words, lower = oracle.halves(values)
    np.testing.assert_array_equal(upper[finite], words[finite])
    np.testing.assert_array_equal(rest[finite], lower[finite])
    np.testing.assert_array_equal(
        joined.view(np.uint32)[finite], np.asarray(values).view(np.uint32)[finite]
    )
    assert np.isnan(joined[~finite]).all()


def test_special_numbers(reference):
    assert_halves(reference, np.concatenate([SPECIAL, SPECIAL | 1 << 31]).view("f4"))


@given(st.integers(0, 2**32 - 1))
def test_any_word(reference, start):
    """Those of a stretch of neighbours and of a walk over all."""
    near = (start + np.arange(3000, dtype=np.uint64)) % 2**32
    far = (start + np.arange(3000, dtype=np.uint64) * 1431655) % 2**32
    assert_halves(reference, np.concatenate([near, far]).astype(np.uint32).view("f4"))


@pytest.mark.slow
def test_every_lower_half(reference):
    """Beside many upper ones: those of the ends, and each 61st."""
    ends = [0, 0x7F7F, 0x7F80, 0x8000, 0xFF7F, 0xFF80]
    for upper in (*ends, *range(0, 1 << 16, 61)):
        words = np.arange(1 << 16, dtype=np.uint32) + np.uint32(upper << 16)
        values = words.view("f4")
        param, rest = kernels.split_param(reference.asarray(values))
        joined = reference.to_numpy(kernels.join_param(param, rest))
        same = joined.view(np.uint32) == words
        assert (same | (np.isnan(values) & np.isnan(joined))).all(), hex(upper)


def test_every_nan_stays_nan(reference):
    words = np.uint32([0x7F800001, 0x7F808000, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF])
    upper, _, joined = through(reference, words.view("f4"))
    assert np.isnan(joined).all()
    assert np.isnan(oracle.widened(upper)).all(), "in the upper half alone, too"


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 4), (0, 3)])
def test_shapes_stay(reference, shape):
    param, rest = kernels.split_param(reference.asarray(np.full(shape, 1.2345, "f4")))
    assert param.shape == rest.shape == shape
    joined = kernels.join_param(param, rest)
    assert joined.shape == shape
    assert not np.isscalar(joined)
    assert (reference.to_numpy(joined) == np.float32(1.2345)).all()


@pytest.mark.parametrize("order", ["transposed", "strided", "reversed"])
def test_any_order_in_memory(reference, order):
    values = reference.asarray(np.arange(300, dtype="f4").reshape(15, 20) / 7)
    values = {"transposed": values.T, "strided": values[::2, ::3], "reversed": values[::-1]}[order]
    joined = kernels.join_param(*kernels.split_param(values))
    np.testing.assert_array_equal(reference.to_numpy(joined), reference.to_numpy(values))


QUICK = (("adam", "8bit", "bfloat16"),)


@pytest.mark.parametrize(
    ("name", "kind", "grad"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for name in CASES
        for case in ((name, "8bit", "bfloat16"), (name, "bfloat16", "float32"))
        if CASES[name].states
    ],
)
def test_together_they_are_float32_s_parameter_to_the_bit(engine, name, kind, grad):
    """And states are, too. The gradient is the same number in either call."""
    assert_alike(engine, name, kind, grad)


@pytest.mark.parametrize("grad", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_so_they_are_beside_float32_states_in_array_expressions(reference, name, grad):
    """Compiled loops over plain float32 arrays fuse and estimate: not to the bit, test_steps.py."""
    assert_alike(reference, name, "float32", grad)


def assert_alike(engine, name, kind, grad):
    case, steps, size = CASES[name], 25, 3001
    rule, states = RULES[case.function], dict.fromkeys(CASES[name].states, kind)
    whole = call_arrays(engine, case, states, size)
    split = call_arrays(engine, case, states | {"param": "bfloat16"}, size)
    rng = np.random.default_rng(8)
    for step in range(1, steps + 1):
        values = rng.standard_normal(size).astype("f4") * np.float32(10.0 ** rng.integers(-4, 2))
        halved = kernels.encode_state(engine.asarray(values), "bfloat16")
        whole["grad"] = (
            kernels.decode_state(halved) if grad == "bfloat16" else engine.asarray(values)
        )
        split["grad"] = halved if grad == "bfloat16" else whole["grad"]
        for arrays in (whole, split):
            rule.call(engine.kernel(case.function), arrays, case.at(step, 3))
        joined = kernels.join_param(split["param"], split["remainder"])
        np.testing.assert_array_equal(
            engine.to_numpy(joined).view(np.uint32),
            engine.to_numpy(whole["param"]).view(np.uint32),
            err_msg=f"step {step}",
        )
        for state in case.states:
            for one, other in zip(*(parts(engine, a[state]) for a in (whole, split)), strict=True):
                np.testing.assert_array_equal(one, other, err_msg=f"{state}, step {step}")


def test_a_small_step_is_not_lost(engine):
    """0.0001 of a parameter is less than half a step of bfloat16: after 1000 it has moved all."""
    param, rest = kernels.split_param(engine.asarray(np.ones(999, "f4")))
    grad = engine.asarray(np.ones(999, "f4"))
    for _ in range(1000):
        engine.kernel("sgd_step")(param, grad, lr=1e-4, remainder=rest)
    np.testing.assert_allclose(engine.to_numpy(kernels.join_param(param, rest)), 0.9, rtol=1e-4)
    bits = engine.to_numpy(param).view(np.uint16)
    np.testing.assert_allclose(oracle.widened(bits), 0.9, rtol=2**-8)


def test_zeros_beside_a_bfloat16_param_are_its_number(reference):
    words = np.uint16([0x3F80, 0xBF80, 0x0000, 0x8000, 0x7F80, 0x0001])
    joined = kernels.join_param(reference.asarray(words), reference.asarray(np.zeros(6, "i2")))
    np.testing.assert_array_equal(reference.to_numpy(joined), oracle.widened(words))


def test_ml_dtypes_and_uint16_are_alike(engine):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    if engine.device == "cuda":
        pytest.skip("CuPy has no ml_dtypes")
    case, outcomes = CASES["adam"], []
    for dtype in (np.uint16, ml_dtypes.bfloat16):
        formats = {"param": "bfloat16", "grad": "bfloat16", "m": "bfloat16", "v": "bfloat16"}
        arrays = call_arrays(engine, case, formats, 777)
        for name in ("param", "grad", "m", "v"):
            arrays[name] = arrays[name].view(dtype)
        RULES[case.function].call(engine.kernel(case.function), arrays, case.at(1, 5))
        assert all(arrays[name].dtype == dtype for name in ("param", "grad", "m", "v"))
        outcomes.append([array.tobytes() for array in arrays.values()])
        number = kernels.decode_state(arrays["m"])
        assert number.dtype == np.float32
        joined = kernels.join_param(arrays["param"], arrays["remainder"])
        np.testing.assert_allclose(joined, arrays["param"].view(ml_dtypes.bfloat16).astype("f4"),
                                   rtol=2**-8)  # fmt: skip
    assert outcomes[0] == outcomes[1]
    made = kernels.zero_state(np.zeros(3, "f4"), "bfloat16")
    assert made.dtype == ml_dtypes.bfloat16


def test_a_bfloat16_tensor_is_seen_by_its_words(engine):
    """As a view of its memory, which is written in place."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if engine.device == "cuda":
        pytest.skip("on the CPU")
    tensor = torch.full((300,), 1.0, dtype=torch.bfloat16)
    grad = torch.full((300,), 0.5, dtype=torch.bfloat16)
    rest = np.zeros(300, "i2")
    words = [each.view(torch.uint16).numpy() for each in (tensor, grad)]
    engine.kernel("sgd_step")(*words, lr=0.5, remainder=rest)
    assert (tensor == 0.75).all()
