"""Which engine runs dropout. To add one, write a file and add it here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ...backend import Array, EngineUnavailableError
from ..engine_table import find_engine
from .contract import DropoutEngine


def _array() -> DropoutEngine:
    from .array import ArrayDropout

    return ArrayDropout()


def _numba() -> DropoutEngine:
    from .numba_cpu import NumbaDropout

    return NumbaDropout()


def _cupy() -> DropoutEngine:
    from .cupy_gpu import CupyDropout

    return CupyDropout()


def _numba_cuda() -> DropoutEngine:
    from .numba_cuda import NumbaCudaDropout

    return NumbaCudaDropout()


# The names of kernels.engines() -> what imports and makes it, when it is first asked for. No import
# by name: packagers such as PyInstaller take along what they see imported.
_TABLE: dict[str, Callable[[], DropoutEngine]] = {
    "array": _array,
    "numba": _numba,
    "cupy": _cupy,
    "numba-cuda": _numba_cuda,
}


def choose(engine: Any, x: Array) -> tuple[str, DropoutEngine]:
    """The engine for arrays like `x`, and its name.

    "auto" takes array expressions where this machine lacks what the dtype takes.

    Raises:
        EngineUnavailableError, TypeError, ValueError: as `find_engine`.
    """
    name = find_engine(engine, x, True).name
    chosen = get(name)
    if reason := chosen.missing(x.dtype.char):
        if engine == "auto":
            return "array", get("array")
        raise EngineUnavailableError(
            f"engine {name!r} can't be used for {x.dtype}: {reason}. Use engine='auto' or 'array'"
        )
    return name, chosen


@cache
def get(name: str) -> DropoutEngine:
    """The engine of that name."""
    return _TABLE[name]()
