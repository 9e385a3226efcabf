"""The engines of one operation, and which of them runs on given arrays."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from ..backend import Array, EngineUnavailableError
from .array_arguments import asks_for_cpu
from .engine_table import find_engine, gpu_engine


class OperationEngine(ABC):
    """What the engines of all operations have."""

    name: ClassVar[str]

    def missing(self, kind: str) -> str:
        """Why it can't take arrays of a dtype, by its character, on this machine; or ""."""
        return ""


E = TypeVar("E", bound=OperationEngine)


class Operation(Generic[E]):
    """An operation's engines, by the names of `kernels.engines()`.

    Args:
        make: imports and makes the engine of a name, when it is first asked for. No import by name:
            packagers such as PyInstaller take along what they see imported.
        beside: the dtypes that they take beside those of rules.

    Attributes:
        get: the engine of a name.
    """

    def __init__(self, make: Callable[[str], E], beside: tuple[str, ...] = ()) -> None:
        self._beside = beside
        self.get: Callable[[str], E] = cache(make)

    def at_once(self, engine: Any, x: Any) -> E | None:
        """The engine that may have a quick way for unchecked arguments, of which `x` is the first;
        None where there is none."""
        if type(x) is np.ndarray:
            return self.get("numba") if asks_for_cpu(engine) else None
        found = gpu_engine(type(x), engine)
        return None if found is None else self.get(found.name)

    def choose(self, engine: Any, x: Array) -> E:
        """The engine for arrays like `x`; "auto" takes array expressions where this machine lacks
        what the dtype takes.

        Raises:
            EngineUnavailableError, TypeError, ValueError: as `find_engine`.
        """
        name = find_engine(engine, x, True, self._beside).name
        chosen = self.get(name)
        if reason := chosen.missing(x.dtype.char):
            if engine == "auto":
                return self.get("array")
            raise EngineUnavailableError(
                f"engine {name!r} can't be used for {x.dtype}: {reason}. Use engine='auto' or "
                "'array'"
            )
        return chosen
