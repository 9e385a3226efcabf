"""exp(x) in Numba code on the CPU, without a branch or a call, so that loops are SIMD.

Numba's own exp is a call of the C library for each element, unless Intel's SVML is installed.

    n = round(x / ln 2)      r = x - n ln 2, |r| <= 0.347      exp(x) = 2^n (1 + r + r^2/2! + ...)

ln 2 is taken off in two parts; n times the first, which ends in zeros, is exact. Adding 1.5 times
2^23 (2^52 in float64) rounds to an integer and leaves it in the lowest bits of the sum, from where
a shift brings it to the exponent's place. Results below the smallest normal number are 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload
from numpy.polynomial import chebyshev

_WORDS = {types.float32: 32, types.float64: 64}
MANTISSA = {types.float32: 23, types.float64: 52}
_DEGREE = {types.float32: 7, types.float64: 13}  # the next term is below a twentieth of eps
_LN2_BITS = {types.float32: 15, types.float64: 42}  # of the first part; n takes 8 and 11
LN2 = 0.693147180559945309417232121458, 2.319046813846299558e-17  # and what float64 leaves of it


@intrinsic
def times_power_of_two(typing: Any, value: Any, shifted: Any) -> Any:
    """value 2^n, where the lowest bits of the number `shifted` are n and value is about 1."""
    bits, mantissa = _WORDS[value], MANTISSA[value]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(bits)
        exponent = builder.shl(builder.bitcast(args[1], word), word(mantissa))
        power = builder.add(exponent, word(((1 << (bits - mantissa - 2)) - 1) << mantissa))
        return builder.fmul(args[0], builder.bitcast(power, args[0].type))

    return value(value, value), generate


def exp(x: Any) -> Any:
    """exp(x) of a float32 or float64 x <= 0, to 1 ulp; NaN of NaN."""
    raise NotImplementedError("compiled code only")


@overload(exp, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _exp(x):
    number = np.float32 if x == types.float32 else np.float64
    scale = 2.0 ** _LN2_BITS[x]
    first = math.floor(LN2[0] * scale) / scale
    ln2_first, ln2_rest = number(first), number(LN2[0] - first + LN2[1])
    per_ln2, zero = number(1.0 / LN2[0]), number(0.0)
    shift = number(1.5 * 2.0 ** MANTISSA[x])
    lowest = number(math.log(np.finfo(number).tiny))
    degree = _DEGREE[x]
    terms = tuple(number(1.0 / math.factorial(k)) for k in range(degree, -1, -1))

    def compiled(x):
        inside = lowest if x < lowest else x  # NaN stays
        shifted = inside * per_ln2 + shift
        n = shifted - shift
        r = (inside - n * ln2_first) - n * ln2_rest
        series = terms[0]
        for k in range(1, degree + 1):
            series = series * r + terms[k]
        result = times_power_of_two(series, shifted)
        return zero if x < lowest else result

    return compiled


def clamped_exp(x: Any) -> Any:
    """exp(x) of any float32 or float64, to 3 ulp; NaN of NaN.

    Results below the smallest normal number are about that; those above half of the largest power
    of two may be infinite.
    """
    raise NotImplementedError("compiled code only")


@overload(clamped_exp, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _clamped_exp(x):
    number = np.float32 if x == types.float32 else np.float64
    scale = 2.0 ** _LN2_BITS[x]
    first = math.floor(LN2[0] * scale) / scale
    ln2_first, ln2_rest = number(first), number(LN2[0] - first + LN2[1])
    per_ln2, shift = number(1.0 / LN2[0]), number(1.5 * 2.0 ** MANTISSA[x])
    lowest = number(math.log(np.finfo(number).tiny))
    highest = number(LN2[0] * np.finfo(number).maxexp)  # whose power of two is infinite
    terms = short_series(x, 0)
    length = len(terms)

    def compiled(x):
        inside = lowest if x < lowest else x  # NaN stays
        inside = highest if inside > highest else inside
        shifted = inside * per_ln2 + shift
        n = shifted - shift
        r = (inside - n * ln2_first) - n * ln2_rest
        series = terms[0]
        for k in range(1, length):
            series = series * r + terms[k]
        return times_power_of_two(series, shifted)

    return compiled


def short_series(x: Any, skipped: int) -> tuple[Any, ...]:
    """Coefficients of sum r^k / (k + skipped)! for |r| <= ln 2 / 2, the highest power's first.

    In float32 Lanczos's economization spares a term: among polynomials of one degree, that which
    Chebyshev's series gives, cut off, is nearest over the whole interval, not only around 0.
    """
    if x == types.float64:
        return tuple(1.0 / math.factorial(k + skipped) for k in range(_DEGREE[x] - skipped, -1, -1))
    powers = (LN2[0] / 2) ** np.arange(16)
    taylor = np.array([1.0 / math.factorial(k + skipped) for k in range(16)])
    kept = chebyshev.poly2cheb(taylor * powers)[: _DEGREE[x] - skipped]
    terms = chebyshev.cheb2poly(kept) / powers[: kept.size]
    return tuple(np.float32(term) for term in terms[::-1])
