"""Which engine runs dropout. To add one, write a file and add its line here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ...backend import Array, EngineUnavailableError
from ..engines import find_engine
from .base import DropoutEngine

# The names of kernels.engines() -> module and class; imported when first asked for.
_TABLE = {
    "array": (".array", "ArrayDropout"),
    "numba": (".numba_cpu", "NumbaDropout"),
    "cupy": (".cupy_gpu", "CupyDropout"),
    "numba-cuda": (".numba_cuda", "NumbaCudaDropout"),
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
    module, class_name = _TABLE[name]
    engine: DropoutEngine = getattr(import_module(module, __package__), class_name)()
    return engine
