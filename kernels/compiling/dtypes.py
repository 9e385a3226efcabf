"""The dtypes of arrays, and what compiled code takes and computes in for each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def compute_dtype(dtype: npt.DTypeLike) -> str:
    """The dtype a rule computes in: float32 for float16 arrays, else the arrays' own."""
    return "float64" if np.dtype(dtype).char == "d" else "float32"
