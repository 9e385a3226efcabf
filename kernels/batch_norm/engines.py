"""Which engine runs a batch normalization. To add one, write a file and add it here."""

from __future__ import annotations

from ..operation import Operation
from .contract import BatchNormEngine


def _make(name: str) -> BatchNormEngine:
    match name:
        case "array":
            from .array import ArrayBatchNorm

            return ArrayBatchNorm()
        case "numba":
            from .cpu.numba_cpu import NumbaBatchNorm

            return NumbaBatchNorm()
        case "cupy":
            from .gpu.cupy_gpu import CupyBatchNorm

            return CupyBatchNorm()
        case "numba-cuda":
            from .gpu.numba_cuda import NumbaCudaBatchNorm

            return NumbaCudaBatchNorm()
    raise KeyError(name)


ENGINES = Operation(_make)
at_once, choose, get = ENGINES.at_once, ENGINES.choose, ENGINES.get
