"""Whether arrays share memory, with themselves or with each other."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy import ndarray

from ..types import Array

_OVERLAP_WORK: Any = 100_000  # candidate solutions to look at before giving up


def any_overlap(
    names: Sequence[str], arrays: Sequence[Array], read_only_from: int | None = None
) -> tuple[str, str] | None:
    """The names of two arrays that share memory, in the order given, or None.

    Arrays from index `read_only_from` on are only read, and may share memory among themselves.
    """
    written = len(arrays) if read_only_from is None else read_only_from
    if all(isinstance(array, ndarray) and array.flags.owndata for array in arrays):
        return _same_object(names, arrays, written)
    extents = sorted((*_extent(array), k) for k, array in enumerate(arrays))
    open_ones: list[tuple[int, int]] = []  # (end, index) of those that reach past the next start
    for start, end, k in extents:
        open_ones = [(stop, other) for stop, other in open_ones if stop > start]
        for _, other in open_ones:
            i, j = sorted((k, other))
            if i < written and share_memory(arrays[i], arrays[j]):
                return names[i], names[j]
        open_ones.append((end, k))
    return None


def _same_object(
    names: Sequence[str], arrays: Sequence[Array], written: int
) -> tuple[str, str] | None:
    """As `any_overlap`, of NumPy arrays with memory of their own: they overlap by being the same.

    CuPy says of every array that came from elsewhere, too, that it owns its memory.
    """
    seen: dict[int, int] = {}
    for k, array in enumerate(arrays):
        first = seen.setdefault(id(array), k)
        if first != k and first < written:
            return names[first], names[k]
    return None


def _extent(array: Array) -> tuple[int, int]:
    """The addresses between which an array lies: its first byte, and the one after its last."""
    start = array.ctypes.data if isinstance(array, ndarray) else array.data.ptr
    if not array.size:
        return start, start
    reach = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
    low = sum(step for step in reach if step < 0)
    high = sum(step for step in reach if step > 0)
    return start + low, start + high + array.itemsize


def share_memory(a: Array, b: Array) -> bool:
    """Whether two arrays share an element; exact, but "yes" where that is too hard to tell."""
    first, second = _by_address(a), _by_address(b)
    if not np.may_share_memory(first, second):
        return False
    try:
        return np.shares_memory(first, second, max_work=_OVERLAP_WORK)
    except np.exceptions.TooHardError:
        return True


def _by_address(array: Array) -> ndarray:
    """For a GPU's array one of NumPy's with its addresses, which nobody may look into."""
    if isinstance(array, ndarray):
        return array
    if not array.size:
        return np.empty(0)
    interface = {
        "data": (array.data.ptr, True),
        "shape": array.shape,
        "strides": array.strides,
        "typestr": f"|V{array.itemsize}",
        "version": 3,
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface))


def overlaps_itself(array: Array) -> bool:
    """Whether two elements of one array share memory: a broadcast view, a sliding window."""
    if array.size <= 1 or array.flags.c_contiguous or array.flags.f_contiguous:
        return False
    reach = 0
    axes = zip(array.strides, array.shape, strict=True)
    for stride, length in sorted((abs(step), n) for step, n in axes if n > 1):
        if stride < reach + array.itemsize:
            return True
        reach += stride * (length - 1)
    return False
