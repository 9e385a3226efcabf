"""Which engine runs softmax cross-entropy. To add one, write a file and add its line here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ...backend import Array, EngineUnavailableError, device_of
from ..engines import engines, find_engine
from .base import SoftmaxEngine

# The names of kernels.engines() -> module and class; imported when first asked for.
_TABLE = {
    "array": (".array", "ArraySoftmax"),
    "numba": (".numba_cpu", "NumbaSoftmax"),
}
_CHOICES = ", ".join(map(repr, ("auto", *_TABLE)))


def choose(engine: Any, logits: Array) -> SoftmaxEngine:
    """The engine for `logits`.

    "auto" takes array expressions on a GPU, and where this machine lacks what the dtype takes.

    Raises:
        EngineUnavailableError, TypeError, ValueError: as `find_engine`; or the named engine has
            no softmax cross-entropy.
    """
    if isinstance(engine, str) and engine not in ("auto", *_TABLE) and engine in engines():
        raise EngineUnavailableError(
            f"engine {engine!r} has no softmax cross-entropy yet; expected {_CHOICES}. On a GPU "
            "'auto' and 'array' run CuPy expressions"
        )
    auto = engine == "auto"
    on_gpu = auto and device_of(logits) != "cpu"
    name = find_engine("array" if on_gpu else engine, logits, True).name
    chosen = get(name)
    if reason := chosen.missing(logits.dtype.char):
        if auto:
            return get("array")
        raise EngineUnavailableError(
            f"engine {name!r} can't be used for {logits.dtype}: {reason}. Use engine='auto' or "
            "'array'"
        )
    return chosen


@cache
def get(name: str) -> SoftmaxEngine:
    """The engine of that name."""
    module, class_name = _TABLE[name]
    engine: SoftmaxEngine = getattr(import_module(module, __package__), class_name)()
    return engine
