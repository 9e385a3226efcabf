"""The arrays of many calls of one rule, seen as one long run of elements that a crew can share.

Small ones are stepped by `entry.step_each`. Where there is more to do, their addresses are noted,
and one compiled walk hands each piece of the run to the same loop that a single large array has:
however its elements are spread over arrays, threads share them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types

from ...backend import Array
from .atomics import call, pointer
from .compile import cfunc
from .entry import UNSORTED, read_each
from .fields import DTYPES, TABLE
from .numba_loops import FIRST_SCALAR

INT64 = types.int64


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


def read(
    columns: tuple[tuple[Array, ...], ...], order: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """What `read_each` returns and writes; `order` may be any, and is that of these arrays then."""
    addresses = np.empty((len(columns[0]), len(columns)), dtype=np.int64)
    ends = np.empty(len(addresses), dtype=np.int64)
    kind = read_each(TABLE.ctypes.data, id(columns), addresses, ends, order)
    if kind == -UNSORTED:
        order[:] = addresses.reshape(-1).argsort(kind="stable")  # quick where most is in order
        kind = read_each(TABLE.ctypes.data, id(columns), addresses, ends, order)
    return kind, addresses, ends


def bundle_of(columns: tuple[tuple[Array, ...], ...], order: np.ndarray) -> Bundle | None:
    """The bundle of these arrays, or None where any of them needs a closer look."""
    kind, addresses, ends = read(columns, order)
    return Bundle(columns, DTYPES[kind], addresses, ends) if kind >= 0 else None


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
