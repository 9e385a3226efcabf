"""bfloat16 and codes of 8 bits, from their definition: integers, and float64 where it is exact.

Nothing here is onepass's. A number x lies between two values of a format, `below(x)` and the one
above it, at a fraction of the way: noise u, one of 2^16, rounds it up where fraction + u / 2^16
reaches 1. float64 holds every value of either format, and every fraction well below 2^-16.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[Any]

NOISES = 1 << 16
LARGEST = 2.0**127  # of a block: from here on it is NaN
LEAST = 2.0**-126  # of a block: below it is zero
CODES = {True: 128, False: 256}
MOST = {True: 124, False: 252}  # the code of twice the scale


class Place(NamedTuple):
    """Where magnitudes lie in a format: value k, and how far on the way to value k + 1."""

    code: NDArray[np.int64]
    fraction: Floats


# --- 8 bits ---------------------------------------------------------------------------------------
def grown(t: int) -> float:
    """Four octaves between two powers of two of t, and a straight line within each."""
    octave = t.bit_length() - 1
    quarters, rest = divmod(4 * (t - 2**octave), 2**octave)
    return float(2.0 ** (4 * octave + quarters) * (1 + rest / 2**octave))


def magnitudes(signed: bool) -> Floats:
    """The value of each code without its sign, in a block whose scale is 1: zero is 0."""
    unit = grown(MOST[signed] + 4) / 2
    return np.array([(grown(code + 4) - grown(4)) / unit for code in range(CODES[signed])])


def decoded(codes: Codes, scale: float, signed: bool) -> NDArray[np.float32]:
    """The numbers of codes, rounded to float32 at most once (those above twice the scale are)."""
    codes = np.asarray(codes, np.int64)
    size = magnitudes(signed)[codes % CODES[signed]] * scale
    sign = np.where(codes >= CODES[signed], -1.0, 1.0)
    return np.asarray(sign * size, np.float32)


def scale_of(block: Codes) -> float:
    """The power of two below the largest magnitude; 0 and NaN for a block that is that."""
    most = float(np.max(np.abs(np.asarray(block, np.float64)), initial=0.0))
    if not most < LARGEST:
        return float("nan")
    return 0.0 if most < LEAST else float(2.0 ** np.floor(np.log2(most)))


def scales_of(values: Codes, block_size: int) -> Floats:
    flat = np.asarray(values, np.float64).reshape(-1)
    cuts = range(0, flat.size, block_size)
    return np.array([scale_of(flat[at : at + block_size]) for at in cuts], np.float64)


def spread(scales: Codes, size: int, block_size: int) -> Floats:
    """The scale of each element."""
    return np.repeat(np.asarray(scales, np.float64), block_size)[:size]


def place_in_block(values: Codes, scale: Any, signed: bool) -> Place:
    """Where magnitudes lie between the values of codes, in blocks of these scales."""
    table = magnitudes(signed)
    with np.errstate(invalid="ignore", divide="ignore"):
        y = np.abs(np.asarray(values, np.float64)) / scale
    y = np.where(np.isfinite(y), y, 0.0)  # a block of zeros, or of NaN
    code = np.minimum(np.searchsorted(table, y, "right") - 1, len(table) - 2)
    return Place(code, (y - table[code]) / (table[code + 1] - table[code]))


def codes_at(place: Place, u: Any, signed: bool, values: Codes) -> NDArray[np.int64]:
    """The codes by noise u: an unsigned one is 0 for 0 alone."""
    values = np.asarray(values, np.float64)
    code = place.code + (np.floor(place.fraction * NOISES) + u >= NOISES)
    if signed:
        return np.where(np.signbit(values), code + CODES[True], code)
    return np.where(values != 0, np.maximum(code, 1), code)


# --- bfloat16 -------------------------------------------------------------------------------------
def words(values: Codes) -> NDArray[np.int64]:
    return np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.int64)


def widened(bits: Codes) -> NDArray[np.float32]:
    upper = np.asarray(bits).astype(np.uint32) << np.uint32(16)
    return upper.view(np.float32)


def place_in_bfloat16(values: Codes) -> Place:
    """Where magnitudes lie between those of bfloat16, whose code is that without its sign."""
    exact = np.abs(np.asarray(values, np.float64))
    table = widened(np.arange(0x7F81)).astype(np.float64)
    table[0x7F80] = 2.0**128  # what infinity stands for, when something is rounded up to it
    code = np.searchsorted(table, np.where(np.isfinite(exact), exact, 0.0), "right") - 1
    code = np.minimum(code, 0x7F7F)
    return Place(code, (exact - table[code]) / (table[code + 1] - table[code]))


def bfloat16_at(values: Codes, u: Any) -> NDArray[np.int64]:
    """The bits of float32 numbers as bfloat16 by noise u; infinities stay, NaN is some NaN."""
    bits = words(values)
    sign, magnitude = bits & 0x80000000, bits & 0x7FFFFFFF
    up = (magnitude + u) >> 16
    finite = magnitude < 0x7F800000
    kept = np.where(magnitude == 0x7F800000, 0x7F80, 0x7FC0)
    return (sign >> 16) | np.where(finite, up, kept)


def halves(values: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The upper half, rounded to the nearest and from the middle away from zero, and the rest."""
    bits = words(values)
    upper = (bits + 0x8000) >> 16
    return upper, bits - (upper << 16)


# --- noise ----------------------------------------------------------------------------------------
def lowbias32(x: int) -> int:
    """Wellons (2018), Prospecting for hash functions."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


def splitmix64(state: int) -> int:
    """Steele, Lea and Flood (2014), the output after one step from this state."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def key(seed: int, step: int, number: int = 0) -> int:
    return splitmix64((splitmix64((splitmix64(seed) + step) % 2**64) + number) % 2**64)


def noise(size: int, block_size: int, of: int, states: int) -> list[NDArray[np.int64]]:
    """The 16 random bits of each element for each of these states, by the key `of`."""
    low, high = of % 2**32, of >> 32
    found = np.zeros((states + 1, size), np.int64)
    for block, at in enumerate(range(0, size, block_size)):
        source, elements = block, np.arange(min(block_size, size - at), dtype=np.int64)
        for pair in range(0, states, 2):
            pace = lowbias32((source + low) % 2**32) | 1
            source = lowbias32(pace ^ high)
            word = (source + pace * elements) % 2**32
            found[pair, at : at + block_size] = word >> 16
            found[pair + 1, at : at + block_size] = word % 2**16
    return list(found[:states])
