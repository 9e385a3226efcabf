"""Engine "cupy": batch normalization by RawKernels that sum and ElementwiseKernels that apply."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend import Array
from ...compiling import cuda_launch
from ...compiling.cuda_launch import ElementwiseKernel, RawKernel, made_once
from ..channel_vectors import computed, given
from ..contract import BatchNormEngine, How, Running
from ..layout import Layout
from .cuda_elementwise import elementwise
from .cuda_text import source
from .plan import gpu_plan

WIDE = 1 << 30  # elements from which an index takes 64 bits


class CupyBatchNorm(BatchNormEngine):
    """Three launches forward (sums, one thread a channel, y), three backward, one for inference."""

    name = "cupy"

    def forward(self, x: Array, y: Array, how: How, running: Running | None) -> Array:
        import cupy

        layout, gamma, beta, eps, relu = how
        channels, dtype, threads = layout.channels, computed(x), cuda_launch.THREADS
        plan = gpu_plan(layout.outer, channels, layout.inner, threads)
        shape = _shape(layout, x)
        means, m2s = cupy.empty((2, plan.parts, channels), dtype)
        kept, coefficients = cupy.empty((2, 3, channels), dtype)
        gamma, beta = given(cupy, gamma, beta, channels, dtype)
        mean, var, momentum = running or (kept[0], kept[0], 0.0)
        moments = _raw("moments", x, False, plan.width)
        moments(x, (plan.across, plan.parts), threads, x, means, m2s, *shape)
        number = np.dtype(dtype).type
        _raw("finish_forward", x)(
            *(x, -(-channels // threads), threads),
            *(x, means, m2s, gamma, beta, mean, var, kept, coefficients),
            *(np.int32(plan.parts), *shape),
            *(number(eps), number(momentum), number(1.0 - momentum)),
            np.int32(running is not None),
        )
        arrays = layout.matrix(x), *_along(coefficients), layout.matrix(y)
        applied("normalize", x.dtype.name, relu)(x, *arrays)
        return kept

    def backward(
        self, dy: Array, x: Array, dx: Array, how: How, kept: Array
    ) -> tuple[Array, Array]:
        import cupy

        layout, gamma, beta, _, relu = how
        channels, dtype, threads = layout.channels, computed(x), cuda_launch.THREADS
        plan = gpu_plan(layout.outer, channels, layout.inner, threads)
        shape = _shape(layout, x)
        sums = cupy.empty((2, plan.parts, channels), dtype)
        result, coefficients = cupy.empty((2, channels), dtype), cupy.empty((5, channels), dtype)
        gamma, beta = given(cupy, gamma, beta, channels, dtype)
        products = _raw("products", x, relu, plan.width)
        products(
            *(x, (plan.across, plan.parts), threads),
            *(dy, x, kept, gamma, beta, sums, *shape),
        )
        _raw("finish_backward", x)(
            *(x, -(-channels // threads), threads),
            *(sums, gamma, beta, kept, result, coefficients),
            *(np.int32(plan.parts), shape[1], np.dtype(dtype).type(layout.count)),
        )
        arrays = layout.matrix(dy), layout.matrix(x), *_along(coefficients), layout.matrix(dx)
        applied("differentiate", x.dtype.name, relu)(x, *arrays)
        return result[0], result[1]

    def inference(self, x: Array, y: Array, how: How, mean: Array, var: Array) -> None:
        import cupy

        layout, gamma, beta, eps, relu = how
        gamma, beta = given(cupy, gamma, beta, layout.channels, computed(x))
        vectors = [vector.reshape(-1, 1) for vector in (mean, var, gamma, beta)]
        arrays = layout.matrix(x), *vectors, eps, layout.matrix(y)
        applied("infer", x.dtype.name, relu)(x, *arrays)


def _shape(layout: Layout, x: Array) -> tuple[Any, ...]:
    """outer, channels and inner as the kernels' index type."""
    index = np.int64 if x.size >= WIDE else np.int32
    return index(layout.outer), index(layout.channels), index(layout.inner)


def _along(coefficients: Array) -> list[Array]:
    """Rows of one value a channel, so that they broadcast against (outer, channel, inner)."""
    return [row.reshape(-1, 1) for row in coefficients]


def _raw(name: str, x: Array, relu: bool = False, width: int = 1) -> RawKernel:
    return raw_kernel(name, x.dtype.name, relu, width, x.size >= WIDE)


@made_once
def raw_kernel(name: str, dtype: str, relu: bool, width: int, wide: bool) -> RawKernel:
    """One of `cuda_text.KERNELS`, without their prefix."""
    symbol = f"batch_norm_{name}"
    return RawKernel(name, dtype, source(symbol, dtype, relu, width, wide), symbol)


@made_once
def applied(name: str, dtype: str, relu: bool) -> ElementwiseKernel:
    """One of cuda_elementwise.py."""
    return ElementwiseKernel(name, elementwise(name, dtype, relu))
