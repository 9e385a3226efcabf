"""Array arguments that all operations have: checked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import Array, backend_of
from ..backend.checks.arrays import check_writeable
from ..backend.checks.overlap import any_overlap
from ..backend.types import DTYPES
from .usable import numba_usable


def asks_for_cpu(engine: Any) -> bool:
    """Whether `engine` is one that takes NumPy arrays by compiled code, and works."""
    return type(engine) is str and engine in ("auto", "numba") and numba_usable()


def check_input(name: str, x: Array, beside: tuple[str, ...] = ()) -> None:
    """x is a NumPy or CuPy array of floating-point numbers; of DTYPES, or of those `beside`."""
    backend_of(x, names=[name])
    if x.dtype.char not in "efd" and x.dtype.name not in beside:
        raise TypeError(
            f"{name} has dtype {x.dtype}; expected {', '.join((*DTYPES, *beside))}. "
            f"Convert it with {name}.astype('float32')"
        )


def check_out(name: str, out: Array, x: Array, called: str = "out") -> None:
    """`out` can take the result for an `x`, called `name`."""
    backend_of(x, out, names=[name, called])
    if out.dtype != x.dtype:
        raise TypeError(
            f"{called} has dtype {out.dtype} but {name} has {x.dtype}; expected the same"
        )
    if out.shape != x.shape:
        raise ValueError(
            f"{called} has shape {out.shape} but {name} has {x.shape}; expected the same"
        )
    check_writeable(called, out)


def check_overlap(
    written: Sequence[tuple[str, Array | None]], read: Sequence[tuple[str, Array | None]]
) -> None:
    """No written array shares memory with another array, except to be the very same view."""
    given = [(name, array) for name, array in (*written, *read) if array is not None]
    count = sum(array is not None for _, array in written)
    pair = any_overlap([name for name, _ in given], [array for _, array in given], count)
    if pair:
        raise ValueError(
            f"{pair[0]} and {pair[1]} overlap in memory; expected separate arrays, since one is "
            f"written while the other is read. Pass {pair[1]}.copy()"
        )


def same_memory(a: Array, b: Array) -> bool:
    """Whether two arrays are one view of the same elements."""
    return a is b or (start_of(a), a.shape, a.strides) == (start_of(b), b.shape, b.strides)


def start_of(array: Array) -> int:
    """The address of an array's first element."""
    return int(array.ctypes.data if hasattr(array, "ctypes") else array.data.ptr)
