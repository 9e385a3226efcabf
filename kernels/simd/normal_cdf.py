"""Phi(z) in Numba code on the CPU: ../normal_cdf.py in SIMD."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .. import normal_cdf as formulas
from ..compiling.specialize import specialize
from .exp import clamped_exp
from .loops import inline


def _where(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b


def normal_cdf(z: Any) -> Any:
    """Phi of a float32 or float64; NaN of NaN."""
    raise NotImplementedError("compiled code only")


@overload(normal_cdf, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _normal_cdf(z):
    number = np.float32 if z == types.float32 else np.float64
    terms = tuple(map(number, formulas.FLOAT32 if z == types.float32 else formulas.FLOAT64))
    zero, half, one, four = map(number, (0.0, 0.5, 1.0, 4.0))
    names = {"exp": clamped_exp, "absolute": abs, "where": inline(_where)}
    compiled = inline(specialize(formulas.formula, **names))
    return lambda z: compiled(z, terms, zero, half, one, four)
