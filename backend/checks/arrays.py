"""The array arguments of an in-place kernel: checked against its contract before any write."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy import may_share_memory, ndarray

from ..detect import backend_of
from ..types import DTYPES, Array
from .overlap import any_overlap, overlaps_itself

_CHARS = frozenset("efd")
_NATIVE = frozenset(map(np.dtype, DTYPES))
_OWNS_DATA = 0x4  # NumPy's NPY_ARRAY_OWNDATA, and C_CONTIGUOUS | ALIGNED | WRITEABLE
_PLAIN = 0x1 | 0x100 | 0x400
_ALL = _PLAIN | _OWNS_DATA


def check_arrays(names: Sequence[str], arrays: Sequence[Array]) -> bool:
    """Check the arrays of one call: the second is only read, every other is written.

    Returns:
        True where every array is C-contiguous and aligned, so that it can be seen as one run of
        elements in memory; False where the call is right but a layout needs strided access.

    Raises:
        TypeError: an argument is no NumPy or CuPy array, holds no floating-point numbers, or its
            dtype differs from the first array's.
        MixedBackendsError: the arrays live on different devices.
        ValueError: shapes differ, a written array is read-only or overlaps itself or another one.
    """
    first = arrays[0]
    if type(first) is ndarray:  # the common case, in under 1 us; whatever is odd, the rest tells
        dtype, shape = first.dtype, first.shape
        flags = _ALL
        for array in arrays:
            if type(array) is not ndarray or array.dtype is not dtype or array.shape != shape:
                break
            flags &= array.flags.num
        else:
            if flags & _PLAIN == _PLAIN and dtype in _NATIVE:
                # Arrays that own their memory overlap only by being the same object; contiguous
                # ones share memory exactly where their extents do.
                if flags & _OWNS_DATA and len(set(map(id, arrays))) == len(arrays):
                    return True
                if not any(may_share_memory(a, b) for a, b in combinations(arrays, 2)):
                    return True
    return _check_thoroughly(names, arrays)


def _check_thoroughly(names: Sequence[str], arrays: Sequence[Array]) -> bool:
    backend_of(*arrays, names=names)
    first = arrays[0]
    for name, array in zip(names, arrays, strict=True):
        if array.dtype.char not in _CHARS:
            raise TypeError(
                f"{name} has dtype {array.dtype}; expected {', '.join(DTYPES)}. "
                f"Convert it with {name}.astype({names[0]}.dtype)"
                if name != names[0]
                else f"{name} has dtype {array.dtype}; expected {', '.join(DTYPES)}. "
                f"Convert it with {name}.astype('float32')"
            )
        if array.dtype != first.dtype:
            raise TypeError(
                f"{name} has dtype {array.dtype} but {names[0]} has {first.dtype}; expected one "
                f"dtype. Convert it with {name}.astype({names[0]}.dtype)"
            )
        if array.shape != first.shape:
            raise ValueError(
                f"{name} has shape {array.shape} but {names[0]} has {first.shape}; expected the "
                "same shape (nothing is broadcast in place)"
            )
    for k, (name, array) in enumerate(zip(names, arrays, strict=True)):
        if k != 1:
            check_writeable(name, array)
    if pair := any_overlap(names, arrays):
        raise ValueError(
            f"{pair[0]} and {pair[1]} overlap in memory; expected separate arrays, since one is "
            f"written while the other is read. Pass {pair[1]}.copy()"
        )
    return all(_is_run(array) for array in arrays)


def check_writeable(name: str, array: Array) -> None:
    """Raise ValueError for an array that is read-only or overlaps itself."""
    if not getattr(array.flags, "writeable", True):
        raise ValueError(
            f"{name} is read-only but is written in place; expected a writeable array. "
            f"Pass {name}.copy()"
        )
    if overlaps_itself(array):
        raise ValueError(
            f"{name} overlaps itself (strides {array.strides}), as a broadcast view does; "
            f"expected distinct elements. Pass {name}.copy()"
        )


def _is_run(array: Array) -> bool:
    flags: Any = array.flags
    return bool(flags.c_contiguous and getattr(flags, "aligned", True) and array.dtype.isnative)
