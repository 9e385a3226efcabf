"""The engines: who compiles and launches a rule. To add one, write a file and add its line here."""

from __future__ import annotations

from functools import cache
from importlib import import_module

import numpy as np

from ...backend import Array, EngineUnavailableError, device_of
from .base import Engine, EngineStatus

__all__ = ["Engine", "EngineStatus", "cpu_engine", "engines", "find_engine", "get_engine"]

# name -> module and class; a module is imported when its engine is first asked for.
_TABLE = {
    "array": (".array", "ArrayEngine"),
    "numba": (".numba_cpu", "NumbaEngine"),
    "cupy": (".cupy_gpu", "CupyEngine"),
    "numba-cuda": (".numba_cuda", "NumbaCudaEngine"),
}
_AUTO = {"cpu": "numba", "cuda": "cupy"}
"""What "auto" takes on each kind of device."""


def engines() -> dict[str, EngineStatus]:
    """Every engine by name: whether it can run here, on what, and if not why and what to do."""
    return {name: get_engine(name).status() for name in _TABLE}


@cache
def get_engine(name: str) -> Engine:
    """The engine of that name, available or not."""
    module, class_name = _TABLE[name]
    engine: Engine = getattr(import_module(module, __name__), class_name)()
    return engine


@cache
def cpu_engine() -> Engine:
    """What "auto" takes for NumPy arrays."""
    return get_engine(_AUTO["cpu"])


def find_engine(name: str, param: Array, contiguous: bool) -> Engine:
    """The engine to run on arrays like `param`.

    Raises:
        ValueError: no engine has that name; or it takes contiguous arrays only.
        EngineUnavailableError: it can't run here, on this device, or on this dtype.
    """
    if name == "auto" and type(param) is np.ndarray:
        return cpu_engine()
    kind = device_of(param).partition(":")[0]
    if name == "auto":
        name = _AUTO[kind]
    if not isinstance(name, str):
        raise TypeError(f"engine is {name!r}; expected a string: {_choices()}")
    if name not in _TABLE:
        raise ValueError(f"engine is {name!r}; expected {_choices()}")
    status = (engine := get_engine(name)).status()
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
    if param.dtype.name not in status.dtypes:
        raise EngineUnavailableError(
            f"engine {name!r} takes {', '.join(status.dtypes)} but the arrays are "
            f"{param.dtype.name}; expected engine='auto' or another one: {_available(kind)}"
        )
    if not contiguous and not engine.strided:
        raise ValueError(
            f"engine {name!r} takes C-contiguous arrays only and one here is not; use "
            "engine='auto', or pass contiguous arrays"
        )
    return engine


def _choices() -> str:
    return ", ".join(map(repr, ("auto", *_TABLE)))


def _available(kind: str = "") -> str:
    return ", ".join(
        repr(name)
        for name, status in engines().items()
        if status.available and (not kind or kind in status.devices)
    )
