"""Which engine runs softmax cross-entropy. To add one, write a file and add it here."""

from __future__ import annotations

from ..operation import Operation
from .contract import SoftmaxEngine


def _make(name: str) -> SoftmaxEngine:
    match name:
        case "array":
            from .array import ArraySoftmax

            return ArraySoftmax()
        case "numba":
            from .cpu.numba_cpu import NumbaSoftmax

            return NumbaSoftmax()
        case "cupy":
            from .gpu.cupy_gpu import CupySoftmax

            return CupySoftmax()
        case "numba-cuda":
            from .gpu.numba_cuda import NumbaCudaSoftmax

            return NumbaCudaSoftmax()
    raise KeyError(name)


ENGINES = Operation(_make)
at_once, choose, get = ENGINES.at_once, ENGINES.choose, ENGINES.get
