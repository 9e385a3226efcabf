"""Zeros, outliers, denormals, infinities and NaN: where they go, and that they stay in a block."""

from __future__ import annotations

import numpy as np
import pytest
from cases.state_formats import CASES, call_arrays, encoded, numbers
from onepass import kernels
from oracles import state_formats as oracle
from oracles.rules import RULES

SIGNS = (True, False)


def decoded(reference, values, **how):
    given = reference.asarray(np.asarray(values, "f4"))
    return reference.to_numpy(kernels.decode_state(kernels.encode_state(given, "8bit", **how)))


@pytest.mark.parametrize("signed", SIGNS)
@pytest.mark.parametrize("seed", [None, 3])
def test_zeros_stay_zeros(reference, signed, seed):
    given = reference.asarray(np.zeros(300, "f4"))
    made = kernels.encode_state(given, "8bit", signed=signed, seed=seed)
    assert not reference.to_numpy(made.codes).any()
    assert not reference.to_numpy(made.scales).any()


def test_a_block_of_zeros_is_filled_by_its_first_gradient(engine):
    for kind in ("bfloat16", "8bit"):
        arrays = call_arrays(engine, CASES["adam"], kind, 700)
        for name in "mv":
            arrays[name] = kernels.zero_state(arrays["param"], kind, signed=name == "m")
        engine.kernel("adam_step")(*arrays.values(), step=1, betas=(0.5, 0.5))
        after = numbers(engine, arrays)
        np.testing.assert_allclose(after["m"], after["grad"] / 2, rtol=2**-2.9)
        np.testing.assert_allclose(after["v"], after["grad"] ** 2 / 2, rtol=2**-3.9)


@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_no_gradient_at_all_keeps_states_of_zeros(engine, kind):
    arrays = call_arrays(engine, CASES["adam"], kind, 700)
    for name in "mv":
        arrays[name] = kernels.zero_state(arrays["param"], kind, signed=name == "m")
    arrays["grad"] = engine.asarray(np.zeros(700, "f4"))
    before = numbers(engine, arrays)["param"]
    engine.kernel("adam_step")(*arrays.values(), step=1)
    after = numbers(engine, arrays)
    assert not after["m"].any()
    assert not after["v"].any()
    assert (after["param"] == before).all()


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("outlier", [1e3, 1e6, 1e20, 1e37])
def test_one_outlier_coarsens_its_own_block_alone(reference, outlier, seed):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.5, 1.0, 1024).astype("f4")
    plain = decoded(reference, values, signed=False, seed=seed)
    values[300] = outlier
    got = decoded(reference, values, signed=False, seed=seed)
    others = np.arange(1024) // 256 != 1
    np.testing.assert_array_equal(got[others], plain[others])
    assert got[300] == pytest.approx(outlier, rel=2**-5)
    assert (got > 0).all(), "what divides a step is not rounded to zero"
    at_least = oracle.scale_of(values[256:512]) * oracle.magnitudes(False)[1]
    assert got[256:512].min() >= at_least


@pytest.mark.parametrize("seed", [None, *range(20)])
def test_an_unsigned_state_is_never_rounded_to_zero(reference, seed):
    values = np.geomspace(1e-37, 1.0, 256).astype("f4")
    got = decoded(reference, values, signed=False, seed=seed)
    assert (got >= oracle.magnitudes(False)[1] * 1.0).all()
    assert decoded(reference, [1.0, 0.0], signed=False, seed=seed)[1] == 0


def test_signed_states_beside_an_outlier_keep_their_mean(reference):
    """Below the last step they are zero or that step, by chance."""
    values = np.full(256, 1e-7, "f4")
    values[0] = 1.0
    mean = np.mean([decoded(reference, values, seed=seed)[1:].mean() for seed in range(400)])
    error = np.sqrt(1e-7 * 2.0**-19 / (255 * 400))
    assert abs(mean - 1e-7) < 3 * error


@pytest.mark.parametrize("signed", SIGNS)
def test_denormals(reference, signed):
    """A block with no normal number is zero; beside a normal one they are rounded as others are."""
    tiny = np.float32(2.0**-126)
    assert not decoded(reference, [tiny / 2, tiny / 4, 0], signed=signed).any()
    got = decoded(reference, [tiny, tiny / 2, 2.0**-149], signed=signed)
    step = oracle.magnitudes(signed)[1]
    np.testing.assert_allclose(got[:2], [tiny, tiny / 2], rtol=0, atol=2.0**-130)
    assert got[2] in (0.0, np.float32(step * 2.0**-126))


@pytest.mark.parametrize("signed", SIGNS)
@pytest.mark.parametrize("value", [2.0**127, 3e38, np.inf, -np.inf, np.nan, -np.nan])
def test_what_has_no_scale_makes_its_block_nan(reference, value, signed):
    values = np.ones(700, "f4")
    values[300] = value
    for seed in (None, 1):
        got = decoded(reference, values, signed=signed, seed=seed)
        bad = np.arange(700) // 256 == 1
        assert np.isnan(got[bad]).all()
        assert np.isfinite(got[~bad]).all()


@pytest.mark.parametrize("signed", SIGNS)
def test_the_largest_scale(reference, signed):
    value = np.nextafter(np.float32(2.0**127), np.float32(0))
    got = decoded(reference, [value, 1e38], signed=signed)
    np.testing.assert_allclose(got, [value, 1e38], rtol=2**-5)


@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_a_bad_gradient_stays_in_its_block_and_is_not_forgotten(engine, kind, poison):
    """In bfloat16 in its own element; and no step with good gradients resets it."""
    outcomes = []
    for bad in (False, True):
        arrays = call_arrays(engine, CASES["adam"], kind, 1000)
        for step in (1, 2, 3):
            grad = np.full(1000, 0.5, "f4")
            if bad and step == 1:
                grad[300] = poison
            arrays["grad"] = engine.asarray(grad)
            engine.kernel("adam_step")(*arrays.values(), step=step)
        outcomes.append(numbers(engine, arrays))
    at = np.arange(1000)
    hit = at // 256 == 1 if kind == "8bit" else at == 300
    for name in ("param", "m", "v"):
        clean, dirty = (outcome[name] for outcome in outcomes)
        np.testing.assert_array_equal(dirty[~hit], clean[~hit])
        if name == "v" or (poison != 3e38 and kind == "8bit"):
            assert not np.isfinite(dirty[hit]).any(), name
    if kind == "8bit":
        assert np.isnan(outcomes[1]["v"][hit]).all()
        if poison != 3e38:
            assert np.isnan(outcomes[1]["param"][hit]).all()


@pytest.mark.parametrize("value", [1.0, -1e-3, 3.38e38, np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-40])
def test_bfloat16_of_special_numbers(reference, value):
    given = reference.asarray(np.full(999, value, "f4"))
    for seed in (None, 1, 2):
        got = reference.to_numpy(
            kernels.decode_state(kernels.encode_state(given, "bfloat16", seed=seed))
        )
        if np.isnan(value):
            assert np.isnan(got).all()
        elif value in (0, np.inf, -np.inf):
            assert (got == np.float32(value)).all()
            assert (np.signbit(got) == np.signbit(value)).all()
        else:
            u = oracle.NOISES // 2
            if seed is not None:
                (u,) = oracle.noise(999, 256, oracle.key(seed, 0), 1)
            words = oracle.bfloat16_at(np.full(999, value, "f4"), u)
            np.testing.assert_array_equal(got, oracle.widened(words))


def test_every_nan_is_a_nan_in_bfloat16(reference):
    """Noise that is added to the bits of one must not carry into the sign."""
    words = np.uint32([0x7F800001, 0x7F80FFFF, 0x7FC00000, 0x7FFFFFFF, 0x7FFF8000, 0xFFFFFFFF])
    values = np.repeat(words, 300).view("f4")
    for seed in (None, *range(10)):
        made = kernels.encode_state(reference.asarray(values), "bfloat16", seed=seed)
        assert np.isnan(reference.to_numpy(kernels.decode_state(made))).all()


def test_eps_zero_beside_elements_without_gradients(engine):
    """0 / 0 is NaN in float32, too; what is not zero is held above zero."""
    case = CASES["adam"]
    arrays = call_arrays(engine, case, "8bit", 256)
    arrays["m"] = encoded(engine, "m", np.full(256, 1e-9), "8bit")
    values = np.full(256, 1e-30)
    values[0] = 1.0
    arrays["v"] = encoded(engine, "v", values, "8bit")
    arrays["grad"] = engine.asarray(np.zeros(256, "f4"))
    RULES[case.function].call(engine.kernel(case.function), arrays, case.at(1, 0) | {"eps": 0.0})
    assert np.isfinite(numbers(engine, arrays)["param"]).all()
