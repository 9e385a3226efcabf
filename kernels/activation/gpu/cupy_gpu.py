"""Engine "cupy": activations by RawKernels, ElementwiseKernels where an array has gaps."""

from __future__ import annotations

import numpy as np

from ....backend import Array
from ...compiling.dtypes import NAMES
from ...compiling.gpu.cuda_launch import ElementwiseKernel, RawKernel, made_once
from ...compiling.gpu.cuda_packs import launch_packed
from ..contract import Numbers
from .cuda_text import elementwise, source, symbol
from .cupy_sums import GpuActivation


class CupyActivation(GpuActivation):
    """One launch forward; one backward, and one more where the bias's gradient is wanted."""

    name = "cupy"

    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, numbers: Numbers, fresh: bool
    ) -> None:
        _launch(kind, (x,), bias, y, numbers)

    def differentiate(
        self, dy: Array, y: Array, dz: Array, bias: Array | None, kind: str, numbers: Numbers
    ) -> None:
        _launch(f"{kind}_gradient", (dy, y), bias, dz, numbers)


def _launch(
    name: str, read: tuple[Array, ...], bias: Array | None, result: Array, numbers: Numbers
) -> None:
    """Launch a formula's kernel."""
    dtype, vectors = NAMES[result.dtype], () if bias is None else (bias,)
    if _without_gaps(*read, result, *vectors):
        row = () if bias is None else (bias, np.int64(bias.size))
        launch_packed(raw_kernel(name, dtype, bias is not None), (*read, result, *row), numbers)
    else:
        kernel = strided_kernel(name, dtype, bias is not None)
        kernel(read[0], *read, *vectors, *numbers, result)


def _without_gaps(*arrays: Array) -> bool:
    return all(array.flags.c_contiguous for array in arrays)


@made_once
def raw_kernel(name: str, dtype: str, biased: bool = False) -> RawKernel:
    """The kernel of a formula for arrays without gaps."""
    text = source(name, dtype, biased)
    return RawKernel(f"activation_{name}", dtype, text, symbol(name, dtype, biased))


@made_once
def strided_kernel(name: str, dtype: str, biased: bool = False) -> ElementwiseKernel:
    """The kernel of a formula for arrays that are laid out anyhow."""
    return ElementwiseKernel(f"activation_{name}", elementwise(name, dtype, biased))
