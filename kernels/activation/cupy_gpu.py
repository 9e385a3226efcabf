"""Engine "cupy": activations by CuPy ElementwiseKernels, on any array layout."""

from __future__ import annotations

from functools import cache
from typing import Any

from ...backend import Array
from .cuda_elementwise import elementwise
from .gpu_sums import GpuActivation


class CupyActivation(GpuActivation):
    """One launch forward; one backward, and one more where the bias's gradient is wanted."""

    name = "cupy"

    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, slope: float, fresh: bool
    ) -> None:
        vectors = () if bias is None else (bias,)
        with x.device:
            kernel(kind, x.dtype.name, bias is not None)(x, *vectors, slope, y)

    def differentiate(self, dy: Array, y: Array, dz: Array, kind: str, slope: float) -> None:
        with dy.device:
            kernel(f"{kind}_gradient", dy.dtype.name)(dy, y, slope, dz)


@cache
def kernel(name: str, dtype: str, biased: bool = False) -> Any:
    """The ElementwiseKernel of a formula."""
    import cupy

    return cupy.ElementwiseKernel(**elementwise(name, dtype, biased))
