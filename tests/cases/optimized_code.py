"""The LLVM code that Numba makes of a loop, and how wide its vectors are."""

from __future__ import annotations

import re

import numpy as np
from numba import njit

VECTOR = r"= f(?:mul|add|sub|div)[a-z ]* <(\d+) x {}>"
LLVM_TYPE = {"float32": "float", "float64": "double"}


def optimized_code(function, options, given):
    """Of a function compiled afresh: what comes from the cache has no text."""
    compiled = njit(**options)(function)
    compiled(*given)
    (text,) = compiled.inspect_llvm().values()
    return text


def vector_bytes(text, dtype):
    widths = [int(width) for width in re.findall(VECTOR.format(LLVM_TYPE[dtype]), text)]
    return max(widths, default=0) * np.dtype(dtype).itemsize
