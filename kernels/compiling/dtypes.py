"""The dtypes of arrays, and what compiled code takes and computes in for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...backend.types import DTYPES

STORED: dict[str, Any] = {"e": np.uint16, "E": np.int16, "f": np.float32, "d": np.float64}
"""What compiled code for the CPU takes, by the character of the dtype: the bits of float16, and of
ml_dtypes' bfloat16, which are told apart by their sign."""

COMPUTED: dict[str, Any] = {"e": np.float32, "E": np.float32, "f": np.float32, "d": np.float64}
"""What it computes in."""

NATIVE = {np.dtype("float32"): "f", np.dtype("float64"): "d"}
"""The dtypes of arrays that it takes as they are, of native byte order; their characters."""

C_TYPES = {
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float32": "float",
    "float64": "double",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
}
"""What CUDA C text calls the dtypes."""

NAMES = {np.dtype(name): name for name in C_TYPES if name != "bfloat16"}
"""Their names at once: `dtype.name` puts it together anew each time. bfloat16 is no dtype of NumPy,
and may not be there."""


def gpu_dtypes(dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
    """The name of an array's dtype, bfloat16 among them, and what kernels of a GPU compute in."""
    return NAMES.get(dtype) or dtype.name, GPU_COMPUTED.get(dtype) or np.dtype("float32")


def compute_dtype(dtype: npt.DTypeLike) -> str:
    """The dtype that is computed in: float32 for arrays of 16 bits, else the arrays' own."""
    return "float64" if np.dtype(dtype).char == "d" else "float32"


GPU_COMPUTED = {np.dtype(name): np.dtype(compute_dtype(name)) for name in DTYPES}
"""The dtypes of arrays that kernels of a GPU take; what they compute in for each."""
