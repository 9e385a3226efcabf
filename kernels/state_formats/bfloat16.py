"""bfloat16: the upper half of a float32, of which 8 bits are the mantissa's (one is not stored).

Rounding to the nearest would freeze an average that changes by less than half of a step, which is
0.2 to 0.4 % here: beta2 = 0.999 lets v fall by 0.1 % a step. So 16 random bits u are added to
the lower half, and what they carry goes into the upper one: the mean over u is x itself. Numbers
that lie less than a step below infinity may become infinite.

A parameter in two halves loses nothing: the upper one is rounded to the nearest bfloat16, and the
lower one is what was rounded away, a signed number of 16 bits.
"""

from __future__ import annotations

import numpy as np

from .words import Number, Word, bits, both, left, number, plus, right, unless_nan

HALF_OF_LOWER = np.uint32(0x8000)
BELOW_HALF = np.uint32(0x7FFF)
ONE = np.uint32(1)
LOWER = np.uint32(0xFFFF)
NAN = np.uint32(0x7FC0)
NAN_BITS = np.uint32(0x7FC00000)
SIXTEEN = np.uint32(16)


def widened(code: Word) -> Number:
    """The number that a bfloat16 is."""
    return number(left(code, SIXTEEN))


def rounded(x: Number, u: Word) -> Word:
    """x as bfloat16, up or down by the 16 random bits u; to the nearest where u is 2^15."""
    return unless_nan(x, right(plus(bits(x), u), SIXTEEN), NAN)


def nearest(x: Number) -> Word:
    """x as the nearest bfloat16, halves to the even one."""
    return rounded(x, plus(BELOW_HALF, both(right(bits(x), SIXTEEN), ONE)))


def joined(upper: Word, lower: Word) -> Number:
    """The float32 that is in two halves; `lower` is a signed one, its sign spread to 32 bits."""
    return number(plus(left(upper, SIXTEEN), lower))


def upper_half(x: Number) -> Word:
    """x rounded to the nearest bfloat16, halves away from zero."""
    return right(plus(unless_nan(x, bits(x), NAN_BITS), HALF_OF_LOWER), SIXTEEN)


def lower_half(x: Number) -> Word:
    """The lower 16 bits of what is left."""
    return both(unless_nan(x, bits(x), NAN_BITS), LOWER)
