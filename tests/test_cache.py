"""Where machine code can't be kept on disk, it is compiled anew instead of failing."""

from __future__ import annotations

import numba
import pytest
from onepass.kernels.engines import compile as compiling


def add(a, b):
    return a + b


@pytest.fixture
def nowhere(monkeypatch):
    """Numba as it is in a read-only install of a user without a home."""
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])


def test_this_is_how_numba_refuses(nowhere):
    with pytest.raises(RuntimeError, match="cannot cache function 'add'"):
        numba.njit(cache=True)(add)


def test_njit_and_cfunc_compile_without_a_cache(nowhere):
    assert compiling.njit()(add)(1, 2) == 3
    assert compiling.njit("int64(int64, int64)", nogil=True)(add)(1, 2) == 3
    assert compiling.cfunc("int64(int64, int64)")(add).ctypes(1, 2) == 3


def test_other_errors_are_not_hidden():
    with pytest.raises(numba.core.errors.TypingError):
        compiling.njit("int64(unicode_type, int64)")(add)
