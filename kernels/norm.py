"""The global norm of gradients, for clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from ..backend import Array, device_of
from ..backend.failures import Explained

_PIECE = 1 << 16  # elements widened at a time where a layout or dtype needs it


def global_norm(arrays: Iterable[Array] | Mapping[str, Array] | Array) -> float:
    """The L2 norm of all elements of all arrays together, accumulated in float64.

        sqrt(sum over arrays of sum(a^2))

    Args:
        arrays: a list, a dict by name such as `net.parameters().grads`, or one array. An
            empty list, or empty arrays, give 0.0.

    It neither overflows nor loses small terms in float32 and float16. On a GPU it waits for the
    device, since the result is a Python float.

    Raises:
        TypeError: an item is neither a NumPy nor a CuPy array.
    """
    if isinstance(arrays, Mapping):
        arrays = arrays.values()
    elif hasattr(arrays, "dtype"):  # whose rows it would take, one by one
        arrays = [arrays]
    return math.sqrt(math.fsum(map(_sum_of_squares, arrays)))


def _sum_of_squares(array: Array) -> float:
    if device_of(array) != "cpu":
        import cupy

        with array.device, Explained("global_norm", array, "array"):
            wide = array.ravel().astype(cupy.float64, copy=False)
            return float(cupy.dot(wide, wide))
    from .engines.reduce import sum_of_squares

    if array.flags.c_contiguous and array.dtype.char in "fd" and array.dtype.isnative:
        return float(sum_of_squares(array.reshape(-1)))
    flat = array.reshape(-1)
    pieces = (flat[k : k + _PIECE] for k in range(0, flat.size, _PIECE))
    return math.fsum(float(sum_of_squares(piece.astype(np.float64))) for piece in pieces)
