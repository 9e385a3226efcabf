"""Programs: kernel calls on buffers that stay, worked through by compiled code step after step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..usable import numba_missing
from .blas import why_no_blas


def why_no_programs(dtype: np.dtype[Any]) -> str:
    """Why no program can be made for arrays of this dtype, or ""."""
    if dtype.char not in "fd":
        return f"products of {dtype} have no BLAS"
    return numba_missing()[0] or why_no_blas()


def new_recorder(dtype: np.dtype[Any], most: int, stops: bool = True, shared: bool = True) -> Any:
    """A new `Recorder` of programs of at most so many steps a run; what it imports compiles.

    Args:
        stops: whether a loss that is not finite stops a run.
        shared: whether threads share each step; else `new_claims` gives each thread steps.
    """
    from .recorder import Recorder

    return Recorder(dtype, most, stops, shared)


def new_claims(copies: Sequence[Any]) -> Any:
    """`Claims` of steps of one program: a copy, by its recorder, for each thread."""
    from .numba_claims import Claims

    return Claims(copies)
