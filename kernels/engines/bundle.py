"""The arrays of many calls of one rule, seen as one long run of elements and stepped in one go.

A call from Python costs microseconds, a hundred elements 50 ns. So the arrays are checked and
their addresses noted in compiled code (fields.py), and one compiled walk hands each piece of the
run to the same loop that a single large array has. The crew shares it where it is large, however
its elements are spread over arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types

from ...backend import Array
from .atomics import call, pointer
from .compile import cfunc
from .fields import NDARRAY, START, apart, fields_known, read_rows
from .numba_loops import FIRST_SCALAR

INT64 = types.int64
_DTYPES = frozenset((np.dtype("float32"), np.dtype("float64")))


class Bundle(NamedTuple):
    """Arrays that were found fit, and stay so while nobody else gets to run.

    Attributes:
        columns: each argument of every call (params, grads, then each state); keeps them alive.
        dtype: that of all.
        addresses: for each call, where the elements of its arrays begin.
        ends: how many elements each call and all before it have.
    """

    columns: Sequence[Sequence[Array]]
    dtype: np.dtype[Any]
    addresses: np.ndarray
    ends: np.ndarray

    @property
    def size(self) -> int:
        """Elements of all calls."""
        return int(self.ends[-1])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.size * self.dtype.itemsize * len(self.columns)

    def job(self, function: int, coefficients: tuple[float, ...]) -> np.ndarray:
        """The argument of `walk`, for a shared loop at the address `function`."""
        job = np.empty(FIRST_SCALAR + len(coefficients), dtype=np.int64)
        addresses, ends = self.addresses, self.ends
        job[:5] = function, addresses.ctypes.data, *addresses.shape, ends.ctypes.data
        job[5] = len(coefficients)
        job.view(np.float64)[FIRST_SCALAR:] = coefficients
        return job


def bundle_of(columns: Sequence[Sequence[Array]]) -> Bundle | None:
    """The bundle of these arrays, or None where any of them needs a closer look."""
    first = columns[0][0]
    if type(first) is not np.ndarray or first.dtype not in _DTYPES or not fields_known():
        return None
    count = len(columns[0])
    objects = np.fromiter(map(id, chain.from_iterable(columns)), np.int64, len(columns) * count)
    addresses = np.empty((count, len(columns)), dtype=np.int64)
    ends = np.empty(count, dtype=np.int64)
    if not read_rows(objects.reshape(-1, count), START, NDARRAY, id(first.dtype), addresses, ends):
        return None
    order = addresses.reshape(-1).argsort(kind="stable")  # quick where most of it is in order
    if not apart(addresses, ends, first.dtype.itemsize, order):
        return None
    return Bundle(columns, first.dtype, addresses, ends)


@cfunc("void(int64, int64, voidptr)", error_model="numpy")
def walk(low: int, high: int, job: Any) -> None:
    """Elements low to high of a bundle: a call of the shared loop for each array they lie in."""
    head = carray(job, FIRST_SCALAR, INT64)
    addresses = carray(pointer(head[1]), (head[2], head[3]), INT64)
    ends = carray(pointer(head[4]), head[2], INT64)
    width = FIRST_SCALAR + head[5]
    own = np.empty(width, dtype=np.int64)
    own[:] = carray(job, width, INT64)
    k = np.searchsorted(ends, low, side="right")
    while low < high:
        begin, end = (ends[k - 1] if k else 0), min(ends[k], high)
        for argument in range(head[3]):
            own[argument] = addresses[k, argument]
        call(head[0], low - begin, end - begin, own.ctypes.data)
        low = end
        k += 1
