"""Dropout by its definition, in Python integers and float64; imports nothing from the library."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = 0xFFFFFFFF

# counter, key -> result: the known answers that Random123 publishes (tests/kat_vectors,
# "philox4x32 10")
KNOWN = [
    (
        (0x00000000, 0x00000000, 0x00000000, 0x00000000),
        (0x00000000, 0x00000000),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox4x32_10(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Salmon, Moraes, Dror and Shaw (2011), section 3.3: ten rounds of two S-boxes.

    A round takes (L0, R0), (L1, R1) = counter to (mulhi(R, M) ^ key ^ L, mullo(R, M)), and the
    pairs change places; the key then grows by the golden ratio and by sqrt(3) - 1.
    """
    x0, x1, x2, x3 = counter
    for number in range(10):
        key0 = (key[0] + number * 0x9E3779B9) % 2**32
        key1 = (key[1] + number * 0xBB67AE85) % 2**32
        high0, low0 = divmod(0xD2511F53 * x0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x2, 2**32)
        x0, x1, x2, x3 = high1 ^ x1 ^ key0, low1, high0 ^ x3 ^ key1, low0
    return x0, x1, x2, x3


def bits(size: int, seed: int, draw: int, first: int = 0) -> list[int]:
    """The random bits of elements `first` to first + size - 1, in C order."""
    found = []
    for i in range(first, first + size):
        call, lane = divmod(i, 4)
        counter = call & WORD, call >> 32, draw & WORD, draw >> 32
        found.append(philox4x32_10(counter, (seed & WORD, seed >> 32))[lane])
    return found


def mask(shape: Any, keep_prob: float, seed: int, draw: int) -> NDArray[np.float64]:
    """1 where an element is kept, else 0."""
    random = bits(int(np.prod(shape)), seed, draw)
    return np.reshape([float(number < keep_prob * 2.0**32) for number in random], shape)


def dropout(x: Any, keep_prob: float, *, seed: int, draw: int) -> NDArray[np.float64]:
    """y = x mask / keep_prob."""
    x = np.array(x, np.float64)
    with np.errstate(invalid="ignore"):
        return x * mask(x.shape, keep_prob, seed, draw) / keep_prob
