"""The BLAS that programs call for matrix products: one thread a call, for the crew shares them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import Any, NamedTuple


class Blas(NamedTuple):
    """Addresses of sgemm and dgemm, in Fortran's convention, and the bits of their integers."""

    single: int
    double: int
    bits: int

    def gemm(self, kind: str) -> int:
        """The one for a dtype by its character."""
        return self.single if kind == "f" else self.double


@cache
def find_blas() -> Blas | None:
    """SciPy's, which it hands to all who compile, or else the one that NumPy was loaded with."""
    return _of_scipy() or _of_numpy()


def _of_scipy() -> Blas | None:
    from numba.extending import get_cython_function_address

    try:
        names = (f"{kind}gemm" for kind in "sd")
        found = [get_cython_function_address("scipy.linalg.cython_blas", name) for name in names]
    except (ImportError, ValueError):
        return None
    single, double = found
    return Blas(single, double, 32)


def _of_numpy() -> Blas | None:
    """By the names that builds of OpenBLAS and MKL give their functions."""
    for library in _libraries():
        for prefix, suffix, bits in _NAMES:
            names = (f"{prefix}{kind}gemm{suffix}" for kind in "sd")
            found: list[Any] = [getattr(library.dynlib, name, None) for name in names]
            if all(found):
                single, double = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in found)
                return Blas(single, double, bits)
    return None


_NAMES = (
    ("scipy_", "_64_", 64), ("", "_64_", 64), ("", "64_", 64), ("scipy_", "_", 32), ("", "_", 32),
)  # fmt: skip
"""What stands before and after "sgemm", and the bits of the integers it takes then."""


def why_no_blas() -> str:
    """Why products can't be written down, or ""."""
    if find_blas() is None:
        return "no BLAS was found that compiled code can call (pip install scipy brings one)"
    return ""


_changing = RLock()
_users = 0
_before: list[tuple[Any, int]] = []


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS libraries take one thread a call while any caller is in here, and as many as before
    once the last one has left."""
    global _users
    with _changing:
        if not _users:
            _before[:] = [(each, each.get_num_threads()) for each in _libraries()]
            for each, _ in _before:
                _set(each, 1)
        _users += 1
    try:
        yield
    finally:
        with _changing:
            _users -= 1
            if not _users:
                _put_back()


def _put_back() -> None:
    for each, number in _before:
        _set(each, number)


def _set(library: Any, number: int) -> None:
    """threadpoolctl lets one thread at a time set OpenBLAS's number; here threads take turns."""
    setting = getattr(library, "_real_set_num_threads", library.set_num_threads)
    setting(number)


def _after_fork() -> None:
    """Threads don't survive a fork: none is within, and none holds the lock."""
    global _users, _changing
    _changing = RLock()
    if _users:
        _users = 0
        _put_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@cache
def _libraries() -> list[Any]:
    """What controls the BLAS libraries of this process."""
    from threadpoolctl import ThreadpoolController

    return [each for each in ThreadpoolController().lib_controllers if each.user_api == "blas"]
