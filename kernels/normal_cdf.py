"""Phi(z), the normal distribution's function, which GELU is made of, without a branch.

    a = |z|      t = 4 / (4 + a)      Phi(-a) = exp(-a^2 / 2) t P(2 t - 1)      Phi(a) = 1 - Phi(-a)

erfc(a / sqrt 2) exp(a^2 / 2) / (2 t) is smooth in t on (0, 1], so a short Chebyshev series has it,
whose terms P holds by powers (Cody, 1969, has rational functions instead, one for each range).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import absolute, exp, where

FLOAT32 = (
    3.9330142396146074e-05, 3.233142033518819e-05, -0.00039094672470664006,
    -0.0008690419737272307, 0.0018780578454378914, 0.015098823967489227, 0.046631677717931246,
    0.09678439072771228, 0.15197410095365885, 0.1888212817838964,
)  # fmt: skip
FLOAT64 = (
    -4.221644241696684e-10, 3.19308785823943e-10, 4.01684673933235e-09, -4.892402234993512e-09,
    -1.9695900856734096e-08, 4.055790802133918e-08, 6.61834320494967e-08, -2.5674601753579823e-07,
    -1.5623877693912945e-07, 1.480723444385482e-06, 1.7865053828168654e-07, -8.78640058976113e-06,
    -4.769190076797745e-07, 5.7773784446822336e-05, 3.3336052290036945e-05,
    -0.0004077046213683964, -0.0008699230891628756, 0.0018850472422229046, 0.01509914372259023,
    0.04663046448989468, 0.09678435018555664, 0.15197416049297324, 0.18882128260393785,
)  # fmt: skip
"""Coefficients of P, the highest power's first."""

NUMBERS = {"zero": 0.0, "half": 0.5, "one": 1.0, "four": 4.0}
"""The other arguments of the formula."""


def terms_of(wide: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The coefficients of P in float64 or float32, the first half and the other: a loop over all of
    them is too long for compilers to unroll, and to vectorize what is around it."""
    terms = FLOAT64 if wide else FLOAT32
    return terms[: len(terms) // 2], terms[len(terms) // 2 :]


def formula(z, terms, others, zero, half, one, four):
    """Phi(z); `terms` and `others` are those of `terms_of`."""
    a = absolute(z)
    t = four / (four + a)
    s = t + t - one
    series = terms[0]
    for k in range(1, len(terms)):
        series = series * s + terms[k]
    series = series * s + others[0]
    for k in range(1, len(others)):
        series = series * s + others[k]
    below = exp(-(half * z * z)) * (t * series)  # as phi(z) has it: compilers take it once
    return where(z > zero, one - below, below)


def normal_cdf(z: Any) -> Any:
    """Phi of each number of an array, in its own precision."""
    return formula(z, *terms_of(z.dtype == np.float64), **NUMBERS)
