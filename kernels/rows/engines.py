"""Which engine runs operations over rows. To add one, write a file and add it here."""

from __future__ import annotations

from ..operation import Operation
from .contract import BESIDE, RowsEngine


def _make(name: str) -> RowsEngine:
    match name:
        case "array":
            from .array import ArrayRows

            return ArrayRows()
        case "numba":
            from .cpu.numba_cpu import NumbaRows

            return NumbaRows()
        case "cupy":
            from .gpu.cupy_gpu import CupyRows

            return CupyRows()
        case "numba-cuda":
            from .gpu.numba_cuda import NumbaCudaRows

            return NumbaCudaRows()
    raise KeyError(name)


ENGINES = Operation(_make, BESIDE)
at_once, choose, get = ENGINES.at_once, ENGINES.choose, ENGINES.get
