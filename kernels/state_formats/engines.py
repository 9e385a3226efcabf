"""The engines of steps with states in other formats."""

from __future__ import annotations

from ..operation import Operation
from .base import EncodedEngine


def _array() -> EncodedEngine:
    from .array_engine import ArrayEngine

    return ArrayEngine()


def _numba() -> EncodedEngine:
    from .cpu.numba_cpu import NumbaEngine

    return NumbaEngine()


def _cupy() -> EncodedEngine:
    from .gpu.cupy_gpu import CupyEngine

    return CupyEngine()


def _numba_cuda() -> EncodedEngine:
    from .gpu.numba_cuda import NumbaCudaEngine

    return NumbaCudaEngine()


_TABLE = {"array": _array, "numba": _numba, "cupy": _cupy, "numba-cuda": _numba_cuda}
OPERATION: Operation[EncodedEngine] = Operation(lambda name: _TABLE[name]())
