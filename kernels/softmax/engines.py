"""Which engine runs softmax cross-entropy. To add one, write a file and add its line here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ...backend import Array, EngineUnavailableError
from ..engines import find_engine
from .base import SoftmaxEngine

# The names of kernels.engines() -> module and class; imported when first asked for.
_TABLE = {
    "array": (".array", "ArraySoftmax"),
    "numba": (".numba_cpu", "NumbaSoftmax"),
    "cupy": (".cupy_gpu", "CupySoftmax"),
    "numba-cuda": (".numba_cuda", "NumbaCudaSoftmax"),
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
    module, class_name = _TABLE[name]
    engine: SoftmaxEngine = getattr(import_module(module, __package__), class_name)()
    return engine
