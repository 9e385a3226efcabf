"""log(1 + u) in Numba code on the CPU, in SIMD, for u in [0, 1].

    s = u / (2 + u), in [0, 1/3]      log(1 + u) = 2 atanh(s) = 2 s (1 + s^2/3 + s^4/5 + ...)

Numba's own is a call of the C library for each element. The series is economized as in exp.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.polynomial import chebyshev

_TERMS = {types.float32: 7, types.float64: 14}  # the next one is below a tenth of eps


def log1p(u: Any) -> Any:
    """log(1 + u) of a float32 or float64 in [0, 1], to 3 ulp; NaN of NaN."""
    raise NotImplementedError("compiled code only")


@overload(log1p, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _log1p(u):
    number = np.float32 if u == types.float32 else np.float64
    two = number(2.0)
    powers = (1 / 9) ** np.arange(32)
    kept = chebyshev.poly2cheb(2.0 / (2 * np.arange(32) + 1) * powers)[: _TERMS[u]]
    series = chebyshev.cheb2poly(kept) / powers[: kept.size]
    terms = tuple(number(term) for term in series[::-1])
    length = len(terms)

    def compiled(u):
        s = u / (two + u)
        square = s * s
        series = terms[0]
        for k in range(1, length):
            series = series * square + terms[k]
        return s * series

    return compiled
