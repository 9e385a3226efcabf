"""Whether arrays hold finite numbers only."""

from __future__ import annotations

from math import isfinite

import numpy as np

from ....backend import backend_of
from ...sparse_rows import SparseRows
from ...types import Array


def all_finite(x: Array) -> bool:
    """Whether every value of `x`, an array or SparseRows, is finite. Waits for a GPU.

    A sum tells so in one pass and without a temporary, unless it overflows itself.
    """
    if isinstance(x, SparseRows):
        return x.all_finite(x.dtype)
    with np.errstate(all="ignore"):
        return isfinite(float(x.sum())) or bool(backend_of(x).xp.isfinite(x).all())
