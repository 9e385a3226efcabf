"""Which engine runs an activation. To add one, write a file and add it here."""

from __future__ import annotations

from ..operation import Operation
from .contract import ActivationEngine


def _make(name: str) -> ActivationEngine:
    match name:
        case "array":
            from .array import ArrayActivation

            return ArrayActivation()
        case "numba":
            from .cpu.numba_cpu import NumbaActivation

            return NumbaActivation()
        case "cupy":
            from .gpu.cupy_gpu import CupyActivation

            return CupyActivation()
        case "numba-cuda":
            from .gpu.numba_cuda import NumbaCudaActivation

            return NumbaCudaActivation()
    raise KeyError(name)


ENGINES = Operation(_make)
choose, get = ENGINES.choose, ENGINES.get
