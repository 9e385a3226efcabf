"""Which engine runs an activation. To add one, write a file and add it here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ...backend import Array, EngineUnavailableError
from ..engine_table import find_engine
from .contract import ActivationEngine


def _array() -> ActivationEngine:
    from .array import ArrayActivation

    return ArrayActivation()


def _numba() -> ActivationEngine:
    from .numba_cpu import NumbaActivation

    return NumbaActivation()


def _cupy() -> ActivationEngine:
    from .cupy_gpu import CupyActivation

    return CupyActivation()


def _numba_cuda() -> ActivationEngine:
    from .numba_cuda import NumbaCudaActivation

    return NumbaCudaActivation()


# The names of kernels.engines() -> what imports and makes it, when it is first asked for. No import
# by name: packagers such as PyInstaller take along what they see imported.
_TABLE: dict[str, Callable[[], ActivationEngine]] = {
    "array": _array,
    "numba": _numba,
    "cupy": _cupy,
    "numba-cuda": _numba_cuda,
}


def choose(engine: Any, x: Array) -> ActivationEngine:
    """The engine for arrays like `x`; "auto" takes array expressions where this machine lacks what
    the dtype takes.

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
def get(name: str) -> ActivationEngine:
    """The engine of that name."""
    return _TABLE[name]()
