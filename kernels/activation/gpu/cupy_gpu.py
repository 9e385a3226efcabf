"""Engine "cupy": activations by RawKernels, ElementwiseKernels where an array has gaps."""

from __future__ import annotations

import numpy as np

from ....backend import Array
from ...compiling import cuda_launch
from ...compiling.cuda_launch import ElementwiseKernel, RawKernel, blocks_for, made_once
from ...compiling.cuda_packs import each
from ...compiling.dtypes import compute_dtype
from .cuda_text import elementwise, source, symbol
from .sums import GpuActivation


class CupyActivation(GpuActivation):
    """One launch forward; one backward, and one more where the bias's gradient is wanted."""

    name = "cupy"

    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, slope: float, fresh: bool
    ) -> None:
        vectors = () if bias is None else (bias,)
        if _without_gaps(x, y, *vectors):
            row = () if bias is None else (bias, np.int64(bias.size))
            _run(raw_kernel(kind, x.dtype.name, bias is not None), (x, y, *row), slope)
        else:
            strided_kernel(kind, x.dtype.name, bias is not None)(x, x, *vectors, slope, y)

    def differentiate(self, dy: Array, y: Array, dz: Array, kind: str, slope: float) -> None:
        name = f"{kind}_gradient"
        if _without_gaps(dy, y, dz):
            _run(raw_kernel(name, dy.dtype.name), (dy, y, dz), slope)
        else:
            strided_kernel(name, dy.dtype.name)(dy, dy, y, slope, dz)


def _without_gaps(*arrays: Array) -> bool:
    return all(array.flags.c_contiguous for array in arrays)


def _run(kernel: RawKernel, given: tuple[Array, ...], slope: float) -> None:
    first = given[0]
    dtype, size = first.dtype.name, first.size
    scalar = np.dtype(compute_dtype(dtype)).type
    blocks = blocks_for(size, each(dtype))
    kernel(first, blocks, cuda_launch.THREADS, *given, np.int64(size), scalar(slope))


@made_once
def raw_kernel(name: str, dtype: str, biased: bool = False) -> RawKernel:
    """The kernel of a formula for arrays without gaps."""
    text = source(name, dtype, biased)
    return RawKernel(f"activation_{name}", dtype, text, symbol(name, dtype, biased))


@made_once
def strided_kernel(name: str, dtype: str, biased: bool = False) -> ElementwiseKernel:
    """The kernel of a formula for arrays that are laid out anyhow."""
    return ElementwiseKernel(f"activation_{name}", elementwise(name, dtype, biased))
