"""Philox4x32-10, the generator of dropout's random bits, written once for every engine.

The Numba engines compile `philox_round`, the CuPy engine translates it to C (c_text.py), and
the array engine calls it on arrays of uint64. A word is the lower 32 bits of a 64-bit number; what
its upper bits hold is of no account.

    counter: element // 4, in two words, then the number of the draw, in two
    key:     the seed, in two
    element i is kept where word i % 4 of the result is at most `Mask.last`

Source: Salmon, Moraes, Dror and Shaw (2011), Parallel random numbers: as easy as 1, 2, 3.
"""

from __future__ import annotations

from numpy import uint64

ROUNDS = 10
M0, M1 = uint64(0xD2511F53), uint64(0xCD9E8D57)  # what the counter is multiplied by
W0, W1 = uint64(0x9E3779B9), uint64(0xBB67AE85)  # what a round adds to the key
LOW, HALF = uint64(0xFFFFFFFF), uint64(32)


def philox_round(c0, c1, c2, c3, k0, k1):
    """One round: the counter's words mixed with the key's, and the key of the next round."""
    left = (c0 & LOW) * M0
    right = (c2 & LOW) * M1
    c0 = (right >> HALF) ^ c1 ^ k0
    c1 = right
    c2 = (left >> HALF) ^ c3 ^ k1
    c3 = left
    k0 = k0 + W0
    k1 = k1 + W1
    return c0, c1, c2, c3, k0, k1
