"""How many passes NumPy expressions take over memory, and what these read and write: counted.

The expressions run once on arrays that note every ufunc; nothing is estimated from their text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Passes:
    """Attributes: launches, the ufunc calls; moved, the bytes of their operands and results."""

    launches: int = 0
    moved: int = 0

    def note(self, *operands: Any) -> None:
        self.launches += 1
        self.moved += sum(array.nbytes for array in operands if isinstance(array, np.ndarray))


class Counted(np.ndarray):
    """An array whose ufuncs and assignments are noted."""

    passes: Passes | None = None

    def __array_finalize__(self, source: Any) -> None:
        self.passes = getattr(source, "passes", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = tuple(map(_plain, inputs))
        out = tuple(map(_plain, options.pop("out", ())))
        result = getattr(ufunc, method)(*plain, **options, **({"out": out} if out else {}))
        if self.passes is not None:
            self.passes.note(*plain, result)
        return _counted(result, self.passes)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, _plain(value))
        if self.passes is not None:
            self.passes.note(self[key], _plain(value))


def count_passes(
    run: Callable[[tuple[np.ndarray, ...]], object], arrays: tuple[np.ndarray, ...]
) -> Passes:
    """The passes of `run` on copies of `arrays`."""
    passes = Passes()
    run(tuple(_counted(array.copy(), passes) for array in arrays))
    return passes


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def _counted(value: Any, passes: Passes | None) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    counted = value.view(Counted)
    counted.passes = passes
    return counted
