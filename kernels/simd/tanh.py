"""tanh(x) in Numba code on the CPU, in SIMD and accurate near 0 too.

    n = round(2 |x| / ln 2)      r = |x| - n ln 2 / 2, |r| <= 0.174
    t = exp(-2 |x|) - 1 = 2^-n (-2 r + (2 r)^2/2! - ...) + (2^-n - 1)
    tanh(x) = -t / (2 + t), with the sign of x

See exp.py. Here ln 2 is rounded once: what it lacks counts 2^-n n times, which is little.
"""

from __future__ import annotations

from math import copysign
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .exp import LN2, MANTISSA, short_series, times_power_of_two


def tanh(x: Any) -> Any:
    """tanh of a float32 or float64, to 3 ulp; NaN of NaN."""
    raise NotImplementedError("compiled code only")


@overload(tanh, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _tanh(x):
    number = np.float32 if x == types.float32 else np.float64
    one, two = number(1.0), number(2.0)
    half_ln2, per_half = number(LN2[0] / 2), number(-2.0 / LN2[0])
    shift = number(1.5 * 2.0 ** MANTISSA[x])
    highest = number((MANTISSA[x] + 3) * LN2[0] / 2)  # tanh is 1 from here on
    terms = tuple(
        term * number(-2.0) ** power for power, term in enumerate(short_series(x, 1)[::-1], 1)
    )[::-1]  # of (exp(-2 r) - 1) / r
    length = len(terms)

    def compiled(x):
        inside = abs(x)
        inside = highest if inside > highest else inside  # NaN stays
        shifted = inside * per_half + shift
        n = shifted - shift  # negative
        r = inside + n * half_ln2
        series = terms[0]
        for k in range(1, length):
            series = series * r + terms[k]
        power = times_power_of_two(one, shifted)
        t = power * (series * r) + (power - one)
        return copysign(t / (two + t), x)

    return compiled
