"""Which engine runs a batch normalization. To add one, write a file and add it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine_table import gpu_engine
from ..operation import Operation
from .contract import BatchNormEngine

if TYPE_CHECKING:
    from .gpu.cupy_gpu import CupyBatchNorm


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
choose, get = ENGINES.choose, ENGINES.get


def on_gpu(x: Any, engine: Any) -> CupyBatchNorm | None:
    """What "auto" takes for arrays of the very type of `x` on a GPU, once it was found for some."""
    found = gpu_engine(type(x))
    if found is None or (engine != "auto" and engine != found.name):
        return None
    return get(found.name)  # type: ignore[return-value]
