"""The common case, checked in a few microseconds: contiguous NumPy arrays of one dtype.

Whatever is not quite that, right or wrong, the thorough checks take up.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy import may_share_memory, ndarray

from .layout import Layout, contiguous_layout

_DTYPES = (np.dtype("float32"), np.dtype("float64"))
_READABLE = 0x1 | 0x100  # NumPy's C_CONTIGUOUS | ALIGNED
_WRITEABLE = _READABLE | 0x400
_OWNED = 0x4  # OWNDATA


def quick_layout(
    x: Any, axis: Any, read: Sequence[Any], written: Sequence[Any] = ()
) -> Layout | None:
    """The layout of x if all is in order: the vectors `read` (or None) and `written`; else None."""
    if type(x) is not ndarray or type(axis) is not int:
        return None
    dtype, own = x.dtype, x.flags.num
    if dtype not in _DTYPES or own & _READABLE != _READABLE:
        return None
    layout = _layout(x.shape, axis)
    if layout is None:
        return None
    shape = (layout.channels,)
    for vectors, flags in ((read, _READABLE), (written, _WRITEABLE)):
        for vector in vectors:
            if vector is None:
                continue
            if type(vector) is not ndarray or vector.dtype is not dtype or vector.shape != shape:
                return None
            number = vector.flags.num
            if number & flags != flags:
                return None
            own &= number
    for k, vector in enumerate(written):
        if vector is None:
            continue
        for other in (x, *read, *written[:k]):
            if other is vector:
                return None
            if not own & _OWNED and other is not None and may_share_memory(vector, other):
                return None
    return layout


def quick_pair(dy: Any, x: Any) -> bool:
    """Whether both are contiguous NumPy arrays of one shape and dtype."""
    return (
        type(dy) is type(x) is ndarray
        and dy.dtype is x.dtype
        and x.dtype in _DTYPES
        and dy.shape == x.shape
        and dy.flags.num & x.flags.num & _READABLE == _READABLE
    )


def quick_beside(residual: Any, x: Any, written: Sequence[Any] = ()) -> bool:
    """Whether that is a contiguous NumPy array like x, beside vectors, or None, to be written."""
    return quick_pair(residual, x) and not any(
        vector is not None and may_share_memory(vector, residual) for vector in written
    )


def quick_places(places: Sequence[Any], vectors: Sequence[Any], arrays: Sequence[Any]) -> bool:
    """Whether gradients of `vectors`, gamma and beta, can go to `places`, each None or an array:
    writeable ones of one dtype and shape, that share no memory with one another or what is read."""
    if places[0] is None is places[1]:
        return True
    for place, vector in zip(places, vectors, strict=True):
        if place is not None and (
            type(place) is not ndarray
            or type(vector) is not ndarray
            or place.dtype is not vector.dtype
            or place.dtype is not arrays[0].dtype
            or place.shape != vector.shape
            or place.flags.num & _WRITEABLE != _WRITEABLE
        ):
            return False
    written = [place for place in places if place is not None]
    if not written:
        return True
    others = [*arrays, *(vector for vector in vectors if vector is not None)]
    owners = [_owner(other) for other in others]
    for k, place in enumerate(written):
        mine = _owner(place)
        for other, owner in zip(others, owners, strict=True):
            if (mine is None or owner is None or mine is owner) and may_share_memory(place, other):
                return False
        if any(may_share_memory(place, other) for other in written[:k]):
            return False
    return True


def _owner(array: ndarray) -> Any:
    """The array that has the memory of `array` for itself alone; None if that can't be told."""
    owner = array if array.base is None else array.base
    return owner if type(owner) is ndarray and owner.flags.owndata else None


@lru_cache(maxsize=256)
def _layout(shape: tuple[int, ...], axis: int) -> Layout | None:
    """Of a contiguous array in which every channel has two values at least."""
    if len(shape) < 2 or not -len(shape) <= axis < len(shape):
        return None
    layout = contiguous_layout(shape, axis % len(shape))
    return layout if layout.channels and layout.count >= 2 else None
