"""Words of the type annotations shared by the whole package."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..backend import Array, Backend

__all__ = ["DTYPES", "Array", "Device", "HostArray", "Shape", "floating"]

HostArray: TypeAlias = npt.NDArray[Any]
"""A NumPy array, whatever device the network lives on."""

Shape: TypeAlias = tuple[int, ...]

Device: TypeAlias = str | Backend
"""What `get_backend` takes: "auto", "cpu", "cuda", "cuda:1", or a Backend."""

DTYPES = ("float16", "float32", "float64")
"""The dtypes a network can have."""


def floating(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as a NumPy dtype; TypeError when a network can't have it."""
    found = np.dtype(dtype)
    if found.name not in DTYPES or not found.isnative:
        raise TypeError(f"dtype is {found}; expected {', '.join(DTYPES)}")
    return found
