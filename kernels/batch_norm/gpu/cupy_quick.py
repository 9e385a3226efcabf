"""The common case on a GPU, checked in a few microseconds: CuPy arrays without gaps, on one device.

Whatever is not quite that, right or wrong, the thorough checks take up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...compiling.dtypes import GPU_COMPUTED
from ..layout import Layout, contiguous_layout


def quick_layout(x: Any, axis: Any) -> Layout | None:
    """The layout of a CuPy array on the current device in which every channel has a value."""
    import cupy

    if type(axis) is not int or x.dtype not in GPU_COMPUTED or not x.flags.c_contiguous:
        return None
    shape = x.shape
    if len(shape) < 2 or not -len(shape) <= axis < len(shape) or not x.size:
        return None
    if x.data.device_id != cupy.cuda.runtime.getDevice():
        return None
    return contiguous_layout(shape, axis % len(shape))


def alike(arrays: Sequence[Any], x: Any) -> bool:
    """Whether all are as x: of its type, dtype, shape and device, without gaps."""
    kind, dtype, shape, device = type(x), x.dtype, x.shape, x.data.device_id
    for array in arrays:
        if type(array) is not kind or array.dtype is not dtype or array.shape != shape:
            return False
        if array.data.device_id != device or not array.flags.c_contiguous:
            return False
    return True


def vectors_fit(
    x: Any, channels: int, read: Sequence[Any], written: Sequence[Any], others: Sequence[Any] = ()
) -> bool:
    """Whether all vectors, or None, are on x's device, of what is computed in and without gaps, and
    those that are written share no memory with one another, x, `others` or those that are read."""
    kind, dtype, device = type(x), GPU_COMPUTED[x.dtype], x.data.device_id
    nbytes, shape = channels * dtype.itemsize, (channels,)
    places = []
    for vectors in (read, written):
        for vector in vectors:
            if vector is None:
                continue
            if type(vector) is not kind or vector.dtype is not dtype or vector.shape != shape:
                return False
            memory = vector.data
            if memory.device_id != device or not vector.flags.c_contiguous:
                return False
            places.append(memory.ptr)
    mine = [vector.data.ptr for vector in written if vector is not None]
    if not mine:
        return True
    places.sort()
    before = -nbytes
    for place in places:  # those that are read may be one another, but that is rare
        if place - before < nbytes:
            return False
        before = place
    for array in (x, *others):
        start, end = array.data.ptr, array.data.ptr + array.nbytes
        for place in mine:
            if place < end and start < place + nbytes:
                return False
    return True
