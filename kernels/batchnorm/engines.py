"""Which engine runs a batch normalization. To add one, write a file and add its line here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ...backend import Array, EngineUnavailableError
from ..engines import find_engine
from .base import BatchNormEngine

# The names of kernels.engines() -> module and class; imported when first asked for.
_TABLE = {
    "array": (".array", "ArrayBatchNorm"),
    "numba": (".numba_cpu", "NumbaBatchNorm"),
    "cupy": (".cupy_gpu", "CupyBatchNorm"),
    "numba-cuda": (".numba_cuda", "NumbaCudaBatchNorm"),
}


def choose(engine: Any, x: Array, dense: bool) -> BatchNormEngine:
    """The engine for arrays like `x`; `dense`: they all fill one run of memory, in one order.

    "auto" takes array expressions where they don't, or where this machine lacks what it takes.

    Raises:
        EngineUnavailableError, TypeError, ValueError: as `find_engine`; or the named engine takes
            dense arrays only.
    """
    name = find_engine("array" if engine == "auto" and not dense else engine, x, True).name
    if not dense and name != "array":
        raise ValueError(
            f"engine {name!r} takes arrays without gaps, all of one memory layout, and one here "
            "is not; use engine='auto' or 'array', or pass contiguous arrays"
        )
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
    module, class_name = _TABLE[name]
    engine: BatchNormEngine = getattr(import_module(module, __package__), class_name)()
    return engine
