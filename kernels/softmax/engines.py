"""Which engine runs softmax cross-entropy. To add one, write a file and add it here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ...backend import Array, EngineUnavailableError
from ..engine_table import find_engine
from .contract import SoftmaxEngine


def _array() -> SoftmaxEngine:
    from .array import ArraySoftmax

    return ArraySoftmax()


def _numba() -> SoftmaxEngine:
    from .numba_cpu import NumbaSoftmax

    return NumbaSoftmax()


def _cupy() -> SoftmaxEngine:
    from .cupy_gpu import CupySoftmax

    return CupySoftmax()


def _numba_cuda() -> SoftmaxEngine:
    from .numba_cuda import NumbaCudaSoftmax

    return NumbaCudaSoftmax()


# The names of kernels.engines() -> what imports and makes it, when it is first asked for. No import
# by name: packagers such as PyInstaller take along what they see imported.
_TABLE: dict[str, Callable[[], SoftmaxEngine]] = {
    "array": _array,
    "numba": _numba,
    "cupy": _cupy,
    "numba-cuda": _numba_cuda,
}


def choose(engine: Any, logits: Array) -> SoftmaxEngine:
    """The engine for `logits`; "auto" takes array expressions where this machine lacks what the
    dtype takes.

    Raises:
        EngineUnavailableError, TypeError, ValueError: as `find_engine`.
    """
    chosen = get(find_engine(engine, logits, True).name)
    if reason := chosen.missing(logits.dtype.char):
        if engine == "auto":
            return get("array")
        raise EngineUnavailableError(
            f"engine {engine!r} can't be used for {logits.dtype}: {reason}. Use engine='auto' or "
            "'array'"
        )
    return chosen


@cache
def get(name: str) -> SoftmaxEngine:
    """The engine of that name."""
    return _TABLE[name]()
