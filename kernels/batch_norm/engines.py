"""Which engine runs a batch normalization. To add one, write a file and add it here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ...backend import Array, EngineUnavailableError
from ..engine_table import find_engine
from .contract import BatchNormEngine


def _array() -> BatchNormEngine:
    from .array import ArrayBatchNorm

    return ArrayBatchNorm()


def _numba() -> BatchNormEngine:
    from .numba_cpu import NumbaBatchNorm

    return NumbaBatchNorm()


def _cupy() -> BatchNormEngine:
    from .cupy_gpu import CupyBatchNorm

    return CupyBatchNorm()


def _numba_cuda() -> BatchNormEngine:
    from .numba_cuda import NumbaCudaBatchNorm

    return NumbaCudaBatchNorm()


# The names of kernels.engines() -> what imports and makes it, when it is first asked for. No import
# by name: packagers such as PyInstaller take along what they see imported.
_TABLE: dict[str, Callable[[], BatchNormEngine]] = {
    "array": _array,
    "numba": _numba,
    "cupy": _cupy,
    "numba-cuda": _numba_cuda,
}


def choose(engine: Any, x: Array) -> BatchNormEngine:
    """The engine for arrays like `x`; "auto" takes array expressions where this machine lacks what
    it takes.

    Raises:
        EngineUnavailableError, TypeError, ValueError: as `find_engine`.
    """
    name = find_engine(engine, x, True).name
    chosen = get(name)
    if reason := chosen.missing(x.dtype.char):
        if engine == "auto":
            return get("array")
        raise EngineUnavailableError(
            f"engine {name!r} can't be used for {x.dtype}: {reason}. Use engine='auto' or 'array'"
        )
    return chosen


@cache
def get(name: str) -> BatchNormEngine:
    """The engine of that name."""
    return _TABLE[name]()
