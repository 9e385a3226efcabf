"""Engine "numba-cuda": the same rule compiled by Numba for the GPU, on contiguous CuPy arrays."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...backend import Array, get_backend
from ...backend.devices import best_gpu
from ...backend.failures import NO_TOOLKIT, first_line
from ..compiling import python_text
from ..compiling.dtypes import compute_dtype
from ..compiling.gpu import cuda_launch
from ..compiling.gpu.cuda_launch import (
    NumbaKernel,
    blocks_for,
    configured,
    device_functions,
    made_once,
)
from ..compiling.gpu.load_numba_cuda import load_numba_cuda
from ..rule import Rule
from .all_or_none import GpuEngine


class NumbaCudaEngine(GpuEngine):
    """A grid-stride loop."""

    name = "numba-cuda"
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
        first = arrays[0]
        scalar = np.dtype(compute_dtype(first.dtype.name)).type
        kernel(rule, first.dtype.name)(
            *(first, blocks_for(first.size), cuda_launch.THREADS),
            *(a.reshape(-1) for a in arrays),
            *map(scalar, coefficients),
        )


@made_once
def kernel(rule: Rule, dtype: str) -> NumbaKernel:
    """The CUDA kernel of a rule for one dtype: (*arrays, *coefficients)."""
    return NumbaKernel(rule.name, python_kernel(rule, dtype))


def python_kernel(rule: Rule, dtype: str) -> Any:
    """The kernel as a Python function, for `cuda.jit`, the simulator and the PTX checks."""
    from numba import cuda, float32, float64

    arguments = (*python_text.array_names(rule), *python_text.scalar_names(rule))
    text = f"def NAME({', '.join(arguments)}):\n"
    text += "    for i in range(cuda.grid(1), p.size, cuda.gridsize(1)):\n"
    text += "".join(f"        {line}\n" for line in python_text.element_source(rule).splitlines())
    namespace = {
        "cuda": cuda,
        "T": float64 if compute_dtype(dtype) == "float64" else float32,
        **{
            name: cuda.jit(python_text.rebound(each, device_functions()), device=True)
            for name, each in (
                ("prelude", rule.prelude),
                ("update", rule.update),
                ("after", rule.after),
            )
            if each is not None
        },
    }
    return python_text.build(rule, f"cuda_{dtype}", text, namespace)


@cache
def _missing() -> tuple[str, str]:
    gpu = best_gpu()
    if not gpu.available:
        return gpu.reason, gpu.remedy
    try:
        cuda = load_numba_cuda()
    except Exception as error:  # whatever releases that don't fit together raise
        remedy = 'pip install "onepass[numba-cuda]"'
        return f"numba-cuda can't be imported ({first_line(error)})", remedy
    try:
        if not cuda.is_available():
            return "numba-cuda finds no usable CUDA toolkit or driver", NO_TOOLKIT
        with get_backend("cuda").scope():
            import cupy

            cell = cupy.ones(1, cupy.float32)
            configured(cuda.jit(_double), 1, 1, cell)(cell)
            result = float(cell.get()[0])
    except Exception as error:  # whatever a mismatched toolkit raises: the reason is kept
        reason = f"{type(error).__name__}: {first_line(error)}"
        return f"a trial kernel can't be compiled or run ({reason})", NO_TOOLKIT
    if result != 2.0:
        return f"a trial kernel gave {result} instead of 2", NO_TOOLKIT
    return "", ""


def _double(cell: Any) -> None:
    cell[0] = cell[0] + cell[0]
