"""Words of the type annotations and errors shared by the whole package."""

from typing import Any

Array = Any  # a numpy.ndarray or a cupy.ndarray; CuPy may be absent, so the type can't be named

DTYPES = ("float16", "float32", "float64")
