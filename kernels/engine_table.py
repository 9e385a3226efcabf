"""The engines: who compiles and launches a rule. To add one, write a file and add it here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..backend import Array, EngineUnavailableError, device_of
from .rule_engines.base import Engine, EngineStatus, Kept
from .usable import numba_missing, numba_usable

__all__ = [
    "Engine", "EngineStatus", "Kept", "cpu_engine", "engines", "find_engine", "get_engine",
    "gpu_engine",
]  # fmt: skip


def _array() -> Engine:
    from .rule_engines.array import ArrayEngine

    return ArrayEngine()


def _numba() -> Engine:
    from .rule_engines.numba_cpu import NumbaEngine

    return NumbaEngine()


def _cupy() -> Engine:
    from .rule_engines.cupy_gpu import CupyEngine

    return CupyEngine()


def _numba_cuda() -> Engine:
    from .rule_engines.numba_cuda import NumbaCudaEngine

    return NumbaCudaEngine()


# name -> what imports and makes it, when it is first asked for. No import by name: packagers such
# as PyInstaller take along what they see imported.
_TABLE: dict[str, Callable[[], Engine]] = {
    "array": _array,
    "numba": _numba,
    "cupy": _cupy,
    "numba-cuda": _numba_cuda,
}
_AUTO = {"cpu": "numba", "cuda": "cupy"}
"""What "auto" takes on each kind of device; "array" where that can't run."""


def engines() -> dict[str, EngineStatus]:
    """Every engine by name: whether it can run here, on what, and if not why and what to do."""
    return {name: _status(name) for name in _TABLE}


@cache
def get_engine(name: str) -> Engine:
    """The engine of that name, available or not; "numba" only where `numba_usable`."""
    return _TABLE[name]()


@cache
def cpu_engine() -> Engine:
    """What "auto" takes for NumPy arrays, as it was found when first asked for, to be quick.

    Numba may be switched off later: then its engine does what needs no compiling, and leaves the
    rest to `find_engine`, which looks anew.
    """
    return get_engine("numba" if numba_usable() else "array")


def find_engine(name: str, param: Array, contiguous: bool, beside: tuple[str, ...] = ()) -> Engine:
    """The engine to run on arrays like `param`; what runs there takes the dtypes `beside`, too.

    Raises:
        ValueError: no engine has that name; or it takes contiguous arrays only.
        EngineUnavailableError: it can't run here, on this device, or on this dtype.
    """
    if name == "auto" and type(param) is np.ndarray:
        return get_engine("numba" if numba_usable() else "array")
    kind = device_of(param).partition(":")[0]
    if name == "auto":
        name = _AUTO[kind] if _status(_AUTO[kind]).available else "array"
    if not isinstance(name, str):
        raise TypeError(f"engine is {name!r}; expected a string: {_choices()}")
    if name not in _TABLE:
        raise ValueError(f"engine is {name!r}; expected {_choices()}")
    status = _status(name)
    if not status.available:
        raise EngineUnavailableError(
            f"engine {name!r} can't be used: {status.reason}. {status.remedy}. "
            f"Available: {_available()}"
        )
    if kind not in status.devices:
        raise EngineUnavailableError(
            f"engine {name!r} runs on {' and '.join(status.devices)} but the arrays are on "
            f"{device_of(param)}; expected engine='auto' or one of this device: {_available(kind)}"
        )
    if param.dtype.name not in (dtypes := (*status.dtypes, *beside)):
        raise EngineUnavailableError(
            f"engine {name!r} takes {', '.join(dtypes)} but the arrays are "
            f"{param.dtype.name}; expected engine='auto' or another one: {_available(kind)}"
        )
    engine = get_engine(name)
    if not contiguous and not engine.strided:
        raise ValueError(
            f"engine {name!r} takes C-contiguous arrays only and one here is not; use "
            "engine='auto', or pass contiguous arrays"
        )
    if name == _AUTO["cuda"]:
        _gpu_engines[type(param)] = engine
    return engine


_gpu_engines: dict[type, Engine] = {}


def gpu_engine(kind: type, engine: Any) -> Engine | None:
    """What "auto" takes for arrays of that very type on a GPU, once it was found for some; None,
    too, where `engine` asks for another."""
    found = _gpu_engines.get(kind)
    if found is None or type(engine) is not str or engine not in ("auto", found.name):
        return None
    return found


def _status(name: str) -> EngineStatus:
    if name == "numba":  # whose module can't be imported then
        reason, remedy = numba_missing()
        if reason:
            return EngineStatus(name, False, ("cpu",), Engine.dtypes, reason, remedy)
    return get_engine(name).status()


def _choices() -> str:
    return ", ".join(map(repr, ("auto", *_TABLE)))


def _available(kind: str = "") -> str:
    return ", ".join(
        repr(name)
        for name, status in engines().items()
        if status.available and (not kind or kind in status.devices)
    )
