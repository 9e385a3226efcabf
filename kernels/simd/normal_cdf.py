"""Phi(z) in Numba code on the CPU: ../normal_cdf.py in SIMD."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .. import normal_cdf as formulas
from ..compiling.python_text import where
from ..compiling.specialize import inlined, specialize
from .exp import clamped_exp
from .loops import OPTIONS, loop


def normal_cdf(z: Any) -> Any:
    """Phi of a float32 or float64; NaN of NaN."""
    raise NotImplementedError("compiled code only")


@overload(normal_cdf, jit_options={**OPTIONS, "forceinline": True})
def _normal_cdf(z):
    number = np.float32 if z == types.float32 else np.float64
    terms, others = (tuple(map(number, half)) for half in formulas.terms_of(z == types.float64))
    zero, half, one, four = map(number, formulas.NUMBERS.values())
    names = {"exp": clamped_exp, "absolute": abs, "where": inlined(where)}
    compiled = loop(specialize(formulas.formula, **names))  # long enough to stay a call otherwise
    return lambda z: compiled(z, terms, others, zero, half, one, four)
