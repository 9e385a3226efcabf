"""Engine "numba-cuda": the same rule compiled by Numba for the GPU, on contiguous CuPy arrays."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from ...backend import Array, get_backend
from ...backend.devices import best_gpu
from ..rule import Rule
from . import source
from .base import Engine, compute_dtype

THREADS = 256
MAX_BLOCKS = 1 << 16  # beyond that, each thread takes several elements


class NumbaCudaEngine(Engine):
    """A grid-stride loop; launched on CuPy's current stream, so that it keeps the order."""

    name = "numba-cuda"
    devices = ("cuda",)
    strided = False

    def missing(self) -> tuple[str, str]:
        return _missing()

    def run(
        self,
        rule: Rule,
        arrays: tuple[Array, ...],
        coefficients: tuple[float, ...],
        contiguous: bool,
    ) -> None:
        import cupy
        from numba import cuda

        first = arrays[0]
        scalar = np.dtype(compute_dtype(first.dtype.name)).type
        blocks = min(-(-first.size // THREADS), MAX_BLOCKS)
        with first.device:
            stream = cuda.external_stream(cupy.cuda.get_current_stream().ptr)
            launched = kernel(rule, first.dtype.name)[blocks, THREADS, stream]
            launched(*(a.reshape(-1) for a in arrays), *map(scalar, coefficients))

    def warmup(self, rule: Rule, dtype: str) -> None:
        xp = get_backend("cuda").xp
        arrays = tuple(xp.zeros(1, dtype) for _ in source.array_names(rule))
        self.run(rule, arrays, tuple(1.0 for _ in source.scalar_names(rule)), True)


@cache
def kernel(rule: Rule, dtype: str) -> Any:
    """The CUDA kernel of a rule for one dtype: (*arrays, *coefficients)."""
    from numba import cuda

    return cuda.jit(python_kernel(rule, dtype))


def python_kernel(rule: Rule, dtype: str) -> Any:
    """The kernel as a Python function, for `cuda.jit`, the simulator and the PTX checks."""
    from numba import cuda, float32, float64

    arguments = (*source.array_names(rule), *source.scalar_names(rule))
    text = f"def NAME({', '.join(arguments)}):\n"
    text += "    for i in range(cuda.grid(1), p.size, cuda.gridsize(1)):\n"
    text += "".join(f"        {line}\n" for line in source.element_source(rule).splitlines())
    namespace = {
        "cuda": cuda,
        "T": float64 if compute_dtype(dtype) == "float64" else float32,
        "prelude": cuda.jit(source.rebound(rule.prelude, {}), device=True),
        "update": cuda.jit(source.rebound(rule.update, device_functions()), device=True),
    }
    return source.build(rule, f"cuda_{dtype}", text, namespace)


@cache
def device_functions() -> dict[str, Any]:
    """NumPy's functions that a rule may use, as Numba CUDA has them."""
    from numba import cuda

    return {"sqrt": math.sqrt, "maximum": cuda.jit(source.maximum, device=True)}


@cache
def _missing() -> tuple[str, str]:
    gpu = best_gpu()
    if not gpu.available:
        return gpu.reason, gpu.remedy
    remedy = 'pip install "onepass[numba-cuda]"'
    try:
        import numba_cuda  # noqa: F401
        from numba import cuda
    except ImportError as error:
        return f"numba-cuda can't be imported ({error})", remedy
    if not cuda.is_available():
        return "numba-cuda finds no usable CUDA toolkit or driver", remedy
    try:
        import cupy

        cell = cupy.ones(1, cupy.float32)
        cuda.jit(_double)[1, 1](cell)
        if float(cell[0]) != 2.0:
            return f"a trial kernel gave {float(cell[0])} instead of 2", remedy
    except Exception as error:  # whatever a mismatched toolkit raises: the reason is kept
        return f"a trial kernel can't be compiled or run ({type(error).__name__}: {error})", remedy
    return "", ""


def _double(cell: Any) -> None:
    cell[0] = cell[0] + cell[0]
