"""Engine "cupy": activations by CuPy ElementwiseKernels, on any array layout."""

from __future__ import annotations

from ....backend import Array
from ...compiling.cuda_launch import ElementwiseKernel, made_once
from .cuda_elementwise import elementwise
from .sums import GpuActivation


class CupyActivation(GpuActivation):
    """One launch forward; one backward, and one more where the bias's gradient is wanted."""

    name = "cupy"

    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, slope: float, fresh: bool
    ) -> None:
        vectors = () if bias is None else (bias,)
        kernel(kind, x.dtype.name, bias is not None)(x, x, *vectors, slope, y)

    def differentiate(self, dy: Array, y: Array, dz: Array, kind: str, slope: float) -> None:
        kernel(f"{kind}_gradient", dy.dtype.name)(dy, dy, y, slope, dz)


@made_once
def kernel(name: str, dtype: str, biased: bool = False) -> ElementwiseKernel:
    """The kernel of a formula."""
    return ElementwiseKernel(f"activation_{name}", elementwise(name, dtype, biased))
