"""Which engine runs operations over rows. To add one, write a file and add it here."""

from __future__ import annotations

from ..operation import Operation
from .contract import Arrays, RowsEngine
from .skeleton import Rows, Shape


class _Missing(RowsEngine):
    """An engine that has no code for rows yet; "auto" takes array expressions in its place."""

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]

    def missing(self, kind: str) -> str:
        return "it has no kernels for operations over rows"

    def run(self, rows: Rows, shape: Shape, arrays: Arrays, numbers: tuple[float, ...]) -> None:
        raise NotImplementedError(self.name)


def _make(name: str) -> RowsEngine:
    match name:
        case "array":
            from .array import ArrayRows

            return ArrayRows()
        case "numba":
            from .cpu.numba_cpu import NumbaRows

            return NumbaRows()
        case "cupy" | "numba-cuda":
            return _Missing(name)
    raise KeyError(name)


ENGINES = Operation(_make)
at_once, choose, get = ENGINES.at_once, ENGINES.choose, ENGINES.get
