"""What state formats are written in: 32-bit words and float32 numbers, on which they do little.

Here each is NumPy's, of arrays or scalars, CuPy's too. The compiled engines put their own in the
place of these names (`specialize`, `c_text.typed_function`), so that a format is written once.
Annotations tell which is which: a `Word` is uint32 and wraps around, a `Number` is float32.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Word: TypeAlias = Any
Number: TypeAlias = Any


def bits(x: Number) -> Word:
    """The bits of a number."""
    return x.view(np.uint32)


def number(w: Word) -> Number:
    """The number of these bits."""
    return w.view(np.float32)


def real(w: Word) -> Number:
    """A word below 2^24 as a number."""
    return w.astype(np.float32)


def whole(x: Number) -> Word:
    """A number from 0 to 2^31 as a word, without its fraction."""
    return x.astype(np.uint32)


def plus(a: Word, b: Word) -> Word:
    """a + b modulo 2^32."""
    return a + b


def minus(a: Word, b: Word) -> Word:
    """a - b modulo 2^32."""
    return a - b


def times(a: Word, b: Word) -> Word:
    """a b modulo 2^32."""
    return a * b


def both(a: Word, b: Word) -> Word:
    """The bits that a and b have."""
    return a & b


def either(a: Word, b: Word) -> Word:
    """The bits that a or b has."""
    return a | b


def exclusive(a: Word, b: Word) -> Word:
    """The bits that one of them has."""
    return a ^ b


def left(a: Word, by: Word) -> Word:
    """Bits shifted to the left, towards the higher ones."""
    return a << by


def right(a: Word, by: Word) -> Word:
    """Bits shifted to the right."""
    return a >> by


def smaller(a: Word, b: Word) -> Word:
    """The smaller word."""
    return a + (b - a) * (b < a)


def larger(a: Word, b: Word) -> Word:
    """The larger word."""
    return a + (b - a) * (a < b)


def unless_nan(x: Number, a: Word, b: Word) -> Word:
    """a, or b where x is NaN."""
    return b + (a - b) * (x == x)


PRIMITIVES = (
    bits, number, real, whole, plus, minus, times, both, either, exclusive, left, right, smaller,
    larger, unless_nan,
)  # fmt: skip
"""All of them: each engine has its own under the same names."""
