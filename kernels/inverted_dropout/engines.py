"""Which engine runs dropout. To add one, write a file and add it here."""

from __future__ import annotations

from ..operation import Operation
from .contract import DropoutEngine


def _make(name: str) -> DropoutEngine:
    match name:
        case "array":
            from .array import ArrayDropout

            return ArrayDropout()
        case "numba":
            from .cpu.numba_cpu import NumbaDropout

            return NumbaDropout()
        case "cupy":
            from .gpu.cupy_gpu import CupyDropout

            return CupyDropout()
        case "numba-cuda":
            from .gpu.numba_cuda import NumbaCudaDropout

            return NumbaCudaDropout()
    raise KeyError(name)


ENGINES = Operation(_make)
choose, get = ENGINES.choose, ENGINES.get
