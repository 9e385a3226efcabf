"""Phi(z) on a GPU: ../normal_cdf.py as CUDA C text, and as a device function of Numba's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import normal_cdf
from .. import c_text
from ..python_text import rebound


def c_function(compute: str, name: str) -> str:
    """The text of `onepass_normal_cdf`, computing in a dtype that the text calls `name`."""
    terms, others = normal_cdf.terms_of(compute == "float64")
    fixed: dict[str, float | tuple[float, ...]] = {"terms": terms, "others": others}
    fixed.update(normal_cdf.NUMBERS)
    return c_text.number_function(normal_cdf.formula, name, "onepass_normal_cdf", fixed)


def device_function(compute: str, functions: Mapping[str, Any]) -> Any:
    """The same for kernels of Numba's; `functions` are what a formula may call there."""
    from numba import cuda

    number = np.dtype(compute).type
    names = {name: number(value) for name, value in normal_cdf.NUMBERS.items()}
    for name, half in zip(
        ("terms", "others"), normal_cdf.terms_of(compute == "float64"), strict=True
    ):
        names[name] = tuple(map(number, half))
    names |= {"formula": cuda.jit(rebound(normal_cdf.formula, functions), device=True)}
    return cuda.jit(rebound(_normal_cdf, names), device=True)


formula: Any = None
terms: Any = ()
others: Any = ()
zero = half = one = four = 0.0


def _normal_cdf(z: Any) -> Any:
    return formula(z, terms, others, zero, half, one, four)
