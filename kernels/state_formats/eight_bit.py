"""8 bits: codes of a block of neighbours, beside the power of two that its largest one has.

Codes are a small float whose mantissa becomes shorter towards zero. Let t be a code plus 4, and
grown(t) the float32 whose bits are those of t, shifted to the left by two: between two powers of
two of t, grown passes four of its own. So under the block's largest value

    four octaves have 32 codes each (16 where there is a sign), the next four have half as many,
    and so on; the last four steps before zero halve one by one

which is a step of 1.6 to 3.1 % (3 to 6 %) for values above a sixteenth of the largest one, and at
zero one of 2^-23 (2^-19) of the largest one's power of two. Between neighbours grown is a straight
line: t rounded up with the probability of its fraction has x for its mean, exactly. A code is
grown(t) - grown(4), so that zero is a number; a fraction is known to 2^-16. Neither a root nor a
division is taken, and scales are powers of two, so that what was decoded is encoded to the same
again; but for a block whose largest one was rounded down to its power of two, less the step at
zero: the next scale is half of it, and its numbers move by no more than that step, to the nearest.

A state that is never negative (the average of squares) is never rounded down to zero: a step that
is divided by its root would be 31 times as long (beta2 = 0.999). So below 2^-24 of its block's
largest one it is held at that; its mean is then above it, and steps shorter.

A block with NaN or with values from 2^127 = 1.7e38 on (as inf) has the scale NaN, and is NaN as a
whole from then on. One whose values are all below 2^-126 = 1.2e-38 is zero.
"""

from __future__ import annotations

import numpy as np

from .words import (
    Number,
    Word,
    bits,
    both,
    either,
    larger,
    left,
    minus,
    number,
    plus,
    real,
    right,
    smaller,
    times,
    whole,
)

EXPONENT = np.uint32(0x7F800000)
TWO_OCTAVES = np.uint32(2 << 23)
NAN = np.uint32(0x00C00000)
MAGNITUDE = np.uint32(0x7FFFFFFF)
INVERSE = np.uint32(254 << 23)
ONE, TWO, FOUR, SEVEN, SIXTEEN = (np.uint32(k) for k in (1, 2, 4, 7, 16))
TO_SIGN, SIGN = np.uint32(24), np.uint32(31)
CODE, SIGN_OF_CODE = np.uint32(127), np.uint32(128)
FIRST_CODE = np.float32(4 << 16)
# What makes t the exponent that shifting needs, and takes it back with 16 more bits; grown(4).
UP, DOWN, FIRST = np.float32(2.0**25), np.float32(2.0 ** (103 + 16)), np.float32(2.0**-23)
SIGNED_UP, SIGNED_DOWN = np.float32(2.0**26), np.float32(2.0 ** (102 + 16))
SIGNED_FIRST = np.float32(2.0**-19)


def largest(most: Word, x: Number) -> Word:
    """The bits of the largest absolute value of a block so far, x with it; NaN is above all."""
    return larger(most, both(bits(x), MAGNITUDE))


def bad(most: Word) -> Word:
    """1 where the largest one is 2^127 or more, or NaN, else 0."""
    return right(plus(both(most, EXPONENT), TWO_OCTAVES), SIGN)


def scale_of(most: Word) -> Number:
    """The power of two below the largest absolute value, or zero; NaN where that is `bad`."""
    return number(either(both(most, EXPONENT), times(bad(most), NAN)))


def kept_of(most: Word) -> Word:
    """The bits of a value that its code is made of: none where the block is NaN."""
    return both(minus(bad(most), ONE), MAGNITUDE)


def factor_of(most: Word) -> Number:
    """What brings values of the block between 0 and 2."""
    return number(both(minus(INVERSE, both(most, EXPONENT)), kept_of(most)))


def grown(t: Word, up: Number) -> Number:
    """The value of t."""
    return number(left(bits(real(t) * up), TWO))


def unsigned(code: Word, scale: Number) -> Number:
    """The number that a code is."""
    return (grown(plus(code, FOUR), UP) - FIRST) * scale


def signed(code: Word, scale: Number) -> Number:
    """The number that a code is, whose bit 7 is the sign."""
    value = (grown(plus(both(code, CODE), FOUR), SIGNED_UP) - SIGNED_FIRST) * scale
    return number(either(bits(value), left(both(code, SIGN_OF_CODE), TO_SIGN)))


def shrunk(y: Number, down: Number, u: Word) -> Word:
    """The code of y, up or down by the 16 random bits u."""
    t = number(right(bits(y), TWO)) * down
    return right(plus(whole(t - FIRST_CODE), u), SIXTEEN)


def unsigned_code(x: Number, factor: Number, kept: Word, u: Word) -> Word:
    """The code of x in its block, at least 1 unless x is 0; to the nearest where u is 2^15."""
    magnitude = both(bits(x), kept)
    code = shrunk(number(magnitude) * factor + FIRST, DOWN, u)
    return larger(code, smaller(magnitude, ONE))


def signed_code(x: Number, factor: Number, kept: Word, u: Word) -> Word:
    """The code of x in its block, with its sign in bit 7."""
    code = shrunk(number(both(bits(x), kept)) * factor + SIGNED_FIRST, SIGNED_DOWN, u)
    return either(code, left(right(bits(x), SIGN), SEVEN))
