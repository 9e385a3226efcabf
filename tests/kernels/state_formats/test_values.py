"""What codes are and how numbers are rounded: to the nearest, and by noise without bias."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass import kernels
from onepass.kernels.state_formats import bfloat16, eight_bit, noise
from oracles import state_formats as oracle

BLOCKS = (64, 128, 256, 512, 1024, 2048)
SIGNS = (True, False)
EVERY_NOISE = np.arange(oracle.NOISES, dtype=np.uint32)


def state(reference, codes, scale, signed, block_size=256):
    scales = np.full(-(-codes.size // block_size), scale, np.float32)
    parts = (reference.asarray(each) for each in (codes, scales))
    return kernels.State8bit(*parts, signed=signed, block_size=block_size)


def as_bits(engine, array):
    """bfloat16 as integers, whatever its dtype."""
    return np.ascontiguousarray(engine.to_numpy(array)).view(np.uint16)


# --- decoding -------------------------------------------------------------------------------------
@pytest.mark.parametrize("exponent", [-126, -125, -60, -1, 0, 1, 77, 126])
@pytest.mark.parametrize("signed", SIGNS)
def test_every_code_is_the_oracle_s_number(reference, signed, exponent):
    codes, scale = np.arange(256, dtype=np.uint8), 2.0**exponent
    actual = reference.to_numpy(kernels.decode_state(state(reference, codes, scale, signed)))
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, oracle.decoded(codes, scale, signed))
    np.testing.assert_array_equal(np.signbit(actual), (codes > 127) & signed)


@pytest.mark.parametrize("signed", SIGNS)
def test_codes_grow_with_the_numbers_and_steps_are_as_told(signed):
    """A step of 1.6 to 3.1 % (3 to 6 %) above a sixteenth of the largest one."""
    table = oracle.magnitudes(signed)
    steps = np.diff(table)
    assert table[0] == 0
    assert (steps > 0).all()
    assert (np.diff(steps) >= 0).all()
    top = (table >= 2 / 16 * 0.999) & (np.arange(table.size) < oracle.MOST[signed])
    relative = steps[top[:-1]] / table[:-1][top[:-1]]
    low, high = (1 / 32, 1 / 16) if signed else (1 / 64, 1 / 32)
    assert relative.min() > 0.99 * low
    assert relative.max() < 1.01 * high
    assert table[oracle.MOST[signed]] == 2 - (2.0**-19 if signed else 2.0**-23)


def test_every_bfloat16_is_the_upper_half_of_a_float32(reference):
    words = np.arange(1 << 16, dtype=np.uint16)
    actual = reference.to_numpy(kernels.decode_state(reference.asarray(words)))
    np.testing.assert_array_equal(actual.view(np.uint32), words.astype(np.uint32) << 16)


def test_zero_is_zero_in_a_block_without_a_scale(reference):
    for signed in SIGNS:
        made = state(reference, np.zeros(5, np.uint8), 0.0, signed)
        assert not reference.to_numpy(kernels.decode_state(made)).any()


# --- encoding -------------------------------------------------------------------------------------
def magnitudes(rng, size, least=1e-30, most=1e30):
    return np.exp(rng.uniform(np.log(least), np.log(most), size))


def values_of(rng, size, width):
    """Numbers of both signs around one magnitude, `width` decades wide, and zeros among them."""
    scale = magnitudes(rng, 1, 10.0 ** (width - 30))[0]
    sizes = scale * magnitudes(rng, size, 10.0**-width, 1.0)
    return np.asarray(sizes * rng.choice([-1, 1, 1, -1, 0], size), np.float32)


SHAPES = st.one_of(
    st.integers(1, 5000).map(lambda n: (n,)),
    st.lists(st.integers(1, 17), min_size=0, max_size=3).map(tuple),
)


@given(
    shape=SHAPES,
    block_size=st.sampled_from(BLOCKS),
    width=st.floats(0, 12),
    seed=st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    signed=st.booleans(),
    draw=st.integers(0, 2**32),
)
def test_codes_are_the_oracle_s_for_any_noise(
    reference, shape, block_size, width, seed, signed, draw
):
    values = values_of(np.random.default_rng(draw), shape, width)
    made = kernels.encode_state(
        reference.asarray(values), "8bit", signed=signed, block_size=block_size, seed=seed
    )
    assert (made.shape, made.signed, made.block_size) == (shape, signed, block_size)
    scales = reference.to_numpy(made.scales)
    np.testing.assert_array_equal(scales, oracle.scales_of(values, block_size))
    flat = (values if signed else np.abs(values)).reshape(-1)
    u = oracle.NOISES // 2
    if seed is not None:
        (u,) = oracle.noise(flat.size, block_size, oracle.key(seed, 0), 1)
    place = oracle.place_in_block(flat, oracle.spread(scales, flat.size, block_size), signed)
    wanted = oracle.codes_at(place, u, signed, flat)
    found = reference.to_numpy(made.codes).reshape(-1).astype(int)
    # float32 has fractions to 2^-16: 2 of 65,536 noises may fall to the other side
    assert np.abs(found - wanted).max(initial=0) <= 1
    assert (found != wanted).sum() <= 1 + 2e-4 * flat.size


@given(
    shape=SHAPES,
    block_size=st.sampled_from(BLOCKS),
    width=st.floats(0, 12),
    signed=st.booleans(),
    draw=st.integers(0, 2**32),
)
def test_the_nearest_number_is_taken(reference, shape, block_size, width, signed, draw):
    values = values_of(np.random.default_rng(draw), shape, width)
    made = kernels.encode_state(
        reference.asarray(values), "8bit", signed=signed, block_size=block_size
    )
    got = np.abs(reference.to_numpy(kernels.decode_state(made)).reshape(-1).astype(float))
    flat = np.abs(values.reshape(-1).astype(float))
    scales = oracle.spread(reference.to_numpy(made.scales), flat.size, block_size)
    code = oracle.place_in_block(flat, scales, signed).code
    table = oracle.magnitudes(signed)
    beside = np.stack([table[code], table[code + 1]]) * scales
    if not signed:  # zero is no neighbour of what is not zero
        beside = np.where((beside == 0) & (flat > 0), np.inf, beside)
    nearest = np.abs(beside - flat).min(0)
    steps = (table[code + 1] - table[code]) * scales
    assert (np.abs(got - flat) <= nearest + 2.0**-15 * steps).all()


@given(
    shape=SHAPES,
    block_size=st.sampled_from(BLOCKS),
    width=st.floats(0, 12),
    seeds=st.tuples(*[st.one_of(st.none(), st.integers(0, 2**64 - 1))] * 2),
    signed=st.booleans(),
    draw=st.integers(0, 2**32),
)
def test_what_was_decoded_is_encoded_to_the_same_again(
    reference, shape, block_size, width, seeds, signed, draw
):
    """But where a block's largest one is a step at zero below its scale: the next is half of it."""
    values = reference.asarray(values_of(np.random.default_rng(draw), shape, width))
    how = {"signed": signed, "block_size": block_size}
    first = kernels.encode_state(values, "8bit", seed=seeds[0], **how)
    numbers = kernels.decode_state(first)
    again = kernels.encode_state(numbers, "8bit", seed=seeds[1], **how)
    nearest = kernels.decode_state(kernels.encode_state(numbers, "8bit", **how))
    codes, scales, *others = (
        reference.to_numpy(each)
        for each in (first.codes, first.scales, again.codes, again.scales, numbers, nearest)
    )
    size = codes.reshape(-1).astype(int) % oracle.CODES[signed]
    least = oracle.MOST[signed] - (16 if signed else 32)  # whose number is about the scale
    starts = np.arange(0, size.size, block_size)
    halved = (np.maximum.reduceat(size, starts) == least) & (scales > 0)
    assert np.array_equal(others[1], np.where(halved, scales / 2, scales))
    kept = np.repeat(~halved, block_size)[: size.size]
    assert np.array_equal(others[0].reshape(-1)[kept], codes.reshape(-1)[kept])
    moved = np.abs(others[2].astype(float) - others[3]).reshape(-1)
    room = oracle.magnitudes(signed)[1] * oracle.spread(scales, size.size, block_size)
    assert (moved <= np.where(kept, 0, room)).all()


@given(
    draw=st.integers(0, 2**32),
    seeds=st.tuples(*[st.one_of(st.none(), st.integers(0, 2**64 - 1))] * 2),
)
def test_bfloat16_is_encoded_to_the_same_again(reference, draw, seeds):
    values = reference.asarray(values_of(np.random.default_rng(draw), 1000, 12))
    first = kernels.encode_state(values, "bfloat16", seed=seeds[0])
    again = kernels.encode_state(kernels.decode_state(first), "bfloat16", seed=seeds[1])
    np.testing.assert_array_equal(as_bits(reference, again), as_bits(reference, first))


@pytest.mark.parametrize("signed", SIGNS)
def test_every_code_up_to_twice_the_scale_is_encoded_to_itself(reference, signed):
    codes = np.arange(oracle.MOST[signed], dtype=np.uint8)
    codes = np.concatenate([codes, codes[1:] + 128]) if signed else codes
    for exponent in (-126, -3, 0, 126):
        values = oracle.decoded(codes, 2.0**exponent, signed)
        for seed in (None, 0, 1, 2):
            made = kernels.encode_state(reference.asarray(values), "8bit", signed=signed, seed=seed)
            np.testing.assert_array_equal(reference.to_numpy(made.codes), codes)


@given(
    draw=st.integers(0, 2**32),
    seed=st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    size=st.integers(1, 3000),
)
def test_bfloat16_is_the_oracle_s(reference, draw, seed, size):
    rng = np.random.default_rng(draw)
    values = np.asarray(magnitudes(rng, size) * rng.choice([-1, 1], size), np.float32)
    made = kernels.encode_state(reference.asarray(values), "bfloat16", seed=seed)
    u = oracle.NOISES // 2
    if seed is not None:
        (u,) = oracle.noise(size, 256, oracle.key(seed, 0), 1)
    np.testing.assert_array_equal(as_bits(reference, made), oracle.bfloat16_at(values, u))


def test_float32_is_copied(reference):
    values = reference.asarray(np.arange(6, dtype="float32").reshape(2, 3))
    made = kernels.encode_state(values, "float32")
    assert not np.shares_memory(made, values) if reference.device == "cpu" else made is not values
    np.testing.assert_array_equal(reference.to_numpy(made), reference.to_numpy(values))


# --- the mean over all noise ----------------------------------------------------------------------
NUMBERS = [1.0, 1.2345678, 1.9999999, 0.7, 0.1, 0.0123, 1.7e-3, 3.3e-5, 5e-6, 1.1e-6]


@pytest.mark.parametrize("x", NUMBERS)
@pytest.mark.parametrize("signed", SIGNS)
def test_the_mean_over_all_noise_is_the_number(signed, x):
    """To 1.5 of 65,536 parts of a step, of which float32 has no smaller."""
    encode = eight_bit.signed_code if signed else eight_bit.unsigned_code
    decode = eight_bit.signed if signed else eight_bit.unsigned
    one, most = np.float32(1), np.array(np.float32(1)).view(np.uint32)
    number = np.float32(x)
    with np.errstate(over="ignore"):
        codes = encode(number, eight_bit.factor_of(most), eight_bit.kept_of(most), EVERY_NOISE)
    mean = decode(codes, one).astype(np.float64).mean()
    table, code = oracle.magnitudes(signed), oracle.place_in_block(x, 1.0, signed).code
    step = table[code + 1] - table[code]
    assert {*np.unique(codes)} <= {int(code), int(code) + 1}
    assert abs(mean - float(number)) <= 1.5 * step / oracle.NOISES


@pytest.mark.parametrize("x", [*NUMBERS, 3e38, 1e-30, -1.2345678])
def test_the_mean_of_bfloat16_over_all_noise_is_exactly_the_number(x):
    number = np.float32(x)
    codes = bfloat16.rounded(number, EVERY_NOISE)
    assert oracle.widened(codes).astype(np.float64).mean() == float(number)


@pytest.mark.parametrize("kind", ["bfloat16", "8bit", "8bit unsigned"])
def test_the_mean_over_seeds_is_the_number(reference, kind):
    rng = np.random.default_rng(3)
    signed, count = kind != "8bit unsigned", 500
    values = np.asarray(magnitudes(rng, 700, 1e-2, 1.0), "float32")
    values *= 1 if not signed else rng.choice([-1, 1], 700).astype("float32")
    given = reference.asarray(values)
    total = np.zeros(values.size)
    for seed in range(count):
        made = kernels.encode_state(given, kind.split()[0], signed=signed, seed=seed)
        total += reference.to_numpy(kernels.decode_state(made))
    scales = oracle.spread(oracle.scales_of(values, 256), values.size, 256)
    place = (
        oracle.place_in_bfloat16(values)
        if kind == "bfloat16"
        else oracle.place_in_block(values, scales, signed)
    )
    table = (
        oracle.widened(np.arange(0x7F80)).astype(float)
        if kind == "bfloat16"
        else oracle.magnitudes(signed)
    )
    step = table[place.code + 1] - table[place.code]
    step = step if kind == "bfloat16" else step * scales
    deviation = step * np.sqrt(place.fraction * (1 - place.fraction) / count)
    off = (total / count - values) / np.maximum(deviation, step * 1e-4)
    # one in 370 is beyond three standard errors; of all together, the mean and the spread
    assert (np.abs(off) > 3).mean() < 0.012
    assert abs(off.mean()) * np.sqrt(values.size) < 3
    assert 0.85 < off.std() < 1.15


# --- the noise ------------------------------------------------------------------------------------
def test_the_mixing_function_is_the_source_s():
    for x in (0, 1, 2, 12345, 2**31, 2**32 - 1):
        with np.errstate(over="ignore"):
            assert int(noise.mixed(np.uint32(x))) == oracle.lowbias32(x)


def test_keys_differ_by_seed_step_and_array():
    keys = {
        key
        for seed in (0, 1, 2, 2**64 - 1)
        for step in (0, 1, 2, 3, 10**6)
        for key in noise.keys_of(seed, step, 3)
    }
    assert len(keys) == 60
    assert noise.keys_of(2**64 - 1, 7, 4)[3] == oracle.key(2**64 - 1, 7, 3)
    assert noise.keys_of(5, 7, 1) == [noise.key_of(5, 7)]


@pytest.mark.parametrize("distance", [1, 2, 3, 64, 100, 255])
def test_neighbours_are_uncorrelated_over_keys(distance):
    rows = np.array(
        [
            [each[[0, distance]] for each in oracle.noise(distance + 1, 256, oracle.key(0, t), 4)]
            for t in range(3000)
        ],
        np.float64,
    ).reshape(3000, 8)
    correlation = np.corrcoef(rows.T)[np.triu_indices(8, 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(3000)
    assert np.abs(rows.mean(0) / 65535 - 0.5).max() < 4.5 / np.sqrt(12 * 3000)
