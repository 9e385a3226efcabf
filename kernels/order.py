"""In what order arrays lie in memory, and copies in another one.

An array that is one run of memory, whatever the order of its axes, costs an elementwise kernel no
more than a contiguous one; arrays of one call that lie in different orders do, so one of them is
copied first. Engines need know nothing of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array, backend_of
from ..backend.memory_pool import empty_like as pooled_like
from .usable import numba_usable

Order = tuple[int, ...]
"""Axes from the slowest to the fastest in memory."""


def order_of(array: Array) -> Order | None:
    """The order of an array's axes; None where it has gaps, is not aligned or of another byte
    order, so that it is not one run of numbers."""
    flags: Any = array.flags
    if not (getattr(flags, "aligned", True) and array.dtype.isnative):
        return None
    if flags.c_contiguous:
        return tuple(range(array.ndim))
    order = sorted(range(array.ndim), key=lambda k: (array.shape[k] != 1, -array.strides[k]))
    step = array.itemsize
    for axis in reversed(order):
        if array.shape[axis] != 1:
            if array.strides[axis] != step:
                return None
            step *= array.shape[axis]
    return tuple(order)


def same_order(a: Array, b: Array) -> bool:
    """Whether two arrays of one shape are runs of memory whose elements lie in the same order."""
    if a.flags.c_contiguous and b.flags.c_contiguous:
        return order_of(a) is not None and order_of(b) is not None
    return (order := order_of(a)) is not None and order == order_of(b)


def empty_like(array: Array) -> Array:
    """New memory of the shape and numbers of `array`, in native byte order: one run, in its order,
    or in that of its strides where it has gaps."""
    if not array.dtype.isnative:
        return pooled_like(array, array.dtype.newbyteorder("="))
    return backend_of(array).empty_like(array)


def run_like(array: Array, place: Array, fresh: bool) -> Array:
    """`array` if it lies in the order of the run of memory `place`, else a copy that does.

    `fresh`: the place is new memory that nobody has seen yet; the copy then goes there, for a
    kernel to work on in place. A second piece of new memory can cost more than the arithmetic.
    """
    if same_order(array, place):
        return array
    made = place if fresh else empty_like(place)
    copy(made, array)
    return made


def place_of(target: Array, like: Array) -> Array:
    """`target` if it is one run of memory in the order of `like`; else new memory that is, for
    a kernel to write to before `put_back`. Where `like` is no run it is NumPy's K order of it."""
    order = order_of(like)
    if order is not None and order == order_of(target):
        return target
    made = empty_like(like)
    return target if same_order(target, made) else made


def put_back(target: Array, place: Array) -> None:
    """Copy what a kernel wrote to `place_of(target)`."""
    if place is not target:
        copy(target, place)


def copy(target: Array, source: Array) -> None:
    """target[...] = source, for arrays that share no memory; quick between two orders."""
    if isinstance(target, np.ndarray) and numba_usable():
        from .simd.transpose import copy as turned

        turned(target, source)
    else:
        target[...] = source


def write_all(results: list[tuple[Array, Array]]) -> None:
    """Write each result into its target; on a GPU memory is taken, and code compiled, before the
    first one.

    CuPy copies between arrays of one dtype and the same strides by a transfer; for any other it
    compiles a kernel, which is done here, by writing into an array what it holds.
    """
    if results and not isinstance(results[0][0], np.ndarray):
        results = [
            (target, result.astype(target.dtype, order="K", copy=False))
            for target, result in results
        ]
        for target, result in results:
            if target.strides != result.strides:
                target[...] = target.copy()
    for target, result in results:
        if target.dtype == result.dtype:
            copy(target, result)
        else:
            target[...] = result
