"""The global norm of gradients, for clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext

import numpy as np

from ..backend import Array, device_of
from ..backend.failures import Explained
from ..backend.foreign import taken_in
from .usable import numba_usable

_PIECE = 1 << 16  # elements widened at a time where a layout or dtype needs it
LEAST = 1e-270  # a sum of squares to which those that were flushed to 0 add nothing


def global_norm(arrays: Iterable[Array] | Mapping[str, Array] | Array) -> float:
    """The L2 norm of all elements of all arrays together, accumulated in float64.

        sqrt(sum over arrays of sum(a^2))

    Args:
        arrays: a list, a dict by name such as `net.parameters().grads`, or one array. An
            empty list, or empty arrays, give 0.0.

    It neither overflows nor loses small terms in float32 and float16. In float64 neither, as in
    BLAS's dnrm2: where squares leave float64's range, above 1e154 and below 1e-135, the arrays are
    read once more and scaled first. Arrays of other libraries are taken in as `as_array` does. On a
    GPU it waits for the device, since the result is a Python float.

    Raises:
        TypeError: an item is no array, or of a dtype that NumPy doesn't have.
    """
    if isinstance(arrays, Mapping):
        arrays = arrays.values()
    elif hasattr(arrays, "dtype"):  # whose rows it would take, one by one
        arrays = [arrays]
    return norm([*map(_known, arrays)])


def norm(
    arrays: Sequence[Array], squares: float | None = None, *, expressions: bool = False
) -> float:
    """`global_norm` of several arrays, NumPy's and CuPy's alone.

    Args:
        squares: the sum of all squares, where it is known.
        expressions: work it out by array expressions on a GPU, too.
    """
    sums = _sums_of_squares(arrays, expressions) if squares is None else [squares]
    total = sum(sums)  # fsum raises where a sum overflows
    if LEAST <= total < math.inf:
        return math.sqrt(math.fsum(sums))
    if all(array.dtype.char in "ef" for array in arrays):  # whose squares never leave the range
        return math.sqrt(total)
    largest = max(map(_largest, arrays), default=0.0) if total == total else math.nan
    if not 0 < largest < math.inf:
        return math.sqrt(total)
    scale = 2.0 ** (math.frexp(largest)[1] - 1)  # a power of two: dividing by it rounds nothing
    return scale * math.sqrt(math.fsum(_sum_of_squares(array, scale) for array in arrays))


def _known(array: Array) -> Array:
    """The array; one of another library taken in."""
    return array if type(array) is np.ndarray else taken_in(["an array"], [array])[0]


def _largest(array: Array) -> float:
    """The largest absolute value; 0 of none."""
    if not array.size:
        return 0.0
    with nullcontext() if device_of(array) == "cpu" else array.device:
        return max(float(array.max()), -float(array.min()))


def _sums_of_squares(arrays: Sequence[Array], expressions: bool) -> list[float]:
    """One for each array, or for those of a GPU together."""
    sums = []
    by_device: dict[str, list[Array]] = {}
    for array in arrays:
        device = device_of(array)
        if device == "cpu" or expressions or not _is_run(array):
            sums.append(_sum_of_squares(array))
        elif array.size:
            by_device.setdefault(device, []).append(array)
    for some in by_device.values():
        from .compiling.gpu.cuda_squares import sum_of_squares as sum_on_gpu

        with Explained("global_norm", some[0], "cupy"):
            sums.append(float(sum_on_gpu(some)))
    return sums


def _is_run(array: Array) -> bool:
    """Whether it is one run of floating-point numbers, in whatever order of axes."""
    return array.dtype.char in "efd" and (array.flags.c_contiguous or array.flags.f_contiguous)


def _sum_of_squares(array: Array, scale: float = 1.0) -> float:
    """The sum of (a / scale)^2."""
    if device_of(array) != "cpu":
        import cupy

        with array.device, Explained("global_norm", array, "array"):
            wide = _over(array.ravel().astype(cupy.float64, copy=False), scale)
            return float(cupy.dot(wide, wide))
    sum_of_squares = _cpu_sum()
    plain = array.flags.c_contiguous and array.dtype.char in "fd" and array.dtype.isnative
    if plain and scale == 1.0:
        return float(sum_of_squares(array.reshape(-1)))
    flat = array.reshape(-1)
    pieces = (flat[k : k + _PIECE] for k in range(0, flat.size, _PIECE))
    return math.fsum(
        float(sum_of_squares(_over(piece.astype(np.float64), scale))) for piece in pieces
    )


def _over(array: Array, scale: float) -> Array:
    return array if scale == 1.0 else array / scale


def _cpu_sum() -> Callable[[np.ndarray], float]:
    """The sum of squares of a contiguous array of one dimension: compiled, or NumPy's."""
    if numba_usable():
        from .simd.sum_of_squares import sum_of_squares

        return sum_of_squares
    return _sum_by_pieces


def _sum_by_pieces(flat: np.ndarray) -> float:
    wide = (flat[k : k + _PIECE].astype(np.float64) for k in range(0, flat.size, _PIECE))
    with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled code is
        return sum(float(np.dot(piece, piece)) for piece in wide)
