"""The random bits that states are rounded by, told from a key, the block and the place in it.

Each block has two words of its own, which a mixing function makes of its number and of the key: an
odd `pace` and a `start`. Element i takes the word start + pace i, and of it the upper 16 bits for
the first state, the lower ones for the second; a third and a fourth state have another pair.

    mean and variance: uniform over 2^16 values in each element, over keys (that is, over steps)
    from step to step: independent, as far as the mixing function makes keys so
    within a block: any two elements differ by pace times their distance, which is random, too:
        they are uncorrelated (multiply-shift hashing, pairwise independent)
    cost: an addition an element, in place of the two multiplications of a hash for each, or the
        sixty of Philox

Sources: Dietzfelbinger (1996), Universal hashing and k-wise independent random variables via
integer arithmetic without primes; the mixing function's constants are those of Wellons (2018),
Prospecting for hash functions ("lowbias32"); Steele, Lea and Flood (2014), Fast splittable
pseudorandom number generators, for the key.
"""

from __future__ import annotations

import numpy as np

from .words import Word, both, either, exclusive, plus, right, times

FIRST_SHIFT, SECOND_SHIFT = np.uint32(16), np.uint32(15)
FIRST_FACTOR, SECOND_FACTOR = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
ONE, UPPER, LOWER = np.uint32(1), np.uint32(16), np.uint32(0xFFFF)
NEAREST = 1 << 15
"""In place of random bits: rounds to the nearest."""
_MASK = (1 << 64) - 1


def mixed(x: Word) -> Word:
    """A word in which every bit depends on all bits of x; a bijection."""
    a = times(exclusive(x, right(x, FIRST_SHIFT)), FIRST_FACTOR)
    b = times(exclusive(a, right(a, SECOND_SHIFT)), SECOND_FACTOR)
    return exclusive(b, right(b, FIRST_SHIFT))


def pace(block: Word, key: Word) -> Word:
    """By which words of a block's elements go on."""
    return either(mixed(plus(block, key)), ONE)


def start(pace: Word, key: Word) -> Word:
    """The word of its first element."""
    return mixed(exclusive(pace, key))


def upper(word: Word) -> Word:
    """The random bits of an even state."""
    return right(word, UPPER)


def lower(word: Word) -> Word:
    """Those of an odd one."""
    return both(word, LOWER)


def key_of(seed: int, step: int) -> int:
    """The 64-bit key of a step of a single array, or of the first of several."""
    return _split(_split(_split(seed) + step))


def keys_of(seed: int, step: int, arrays: int) -> list[int]:
    """Those of as many arrays that are stepped together."""
    base = _split(_split(seed) + step)
    return [_split(base + number) for number in range(arrays)]


def _split(state: int) -> int:
    """SplitMix64."""
    z = (state + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
