"""Engine "cupy": batch normalization by RawKernels that sum and ElementwiseKernels that apply."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...backend import Array
from .channel_vectors import computed, given
from .contract import BatchNormEngine, How, Running
from .cuda_elementwise import elementwise
from .cuda_text import THREADS, source
from .gpu_plan import gpu_plan
from .layout import Layout

WIDE = 1 << 30  # elements from which an index takes 64 bits


class CupyBatchNorm(BatchNormEngine):
    """Three launches forward (sums, one thread a channel, y), three backward, one for inference."""

    name = "cupy"

    def forward(self, x: Array, y: Array, how: How, running: Running | None) -> Array:
        layout, gamma, beta, eps, relu = how
        xp, channels, dtype = _module(), layout.channels, computed(x)
        plan = gpu_plan(layout.outer, channels, layout.inner, THREADS)
        shape = _shape(layout, x)
        means, m2s = xp.empty((2, plan.parts, channels), dtype)
        kept, coefficients = xp.empty((2, 3, channels), dtype)
        gamma, beta = given(xp, gamma, beta, channels, dtype)
        mean, var, momentum = running or (kept[0], kept[0], 0.0)
        with x.device:
            _raw("batch_norm_moments", x, False, plan.width)(
                (plan.across, plan.parts), (THREADS,), (x, means, m2s, *shape)
            )
            number = np.dtype(dtype).type
            _raw("batch_norm_finish_forward", x)(
                *_per_channel(channels),
                (
                    *(x, means, m2s, gamma, beta, mean, var, kept, coefficients),
                    *(np.int32(plan.parts), *shape),
                    *(number(eps), number(momentum), number(1.0 - momentum)),
                    np.int32(running is not None),
                ),
            )
            vectors = _along(coefficients)
            _kernel("normalize", x.dtype.name, relu)(layout.matrix(x), *vectors, layout.matrix(y))
        return kept

    def backward(
        self, dy: Array, x: Array, dx: Array, how: How, kept: Array
    ) -> tuple[Array, Array]:
        layout, gamma, beta, _, relu = how
        xp, channels, dtype = _module(), layout.channels, computed(x)
        plan = gpu_plan(layout.outer, channels, layout.inner, THREADS)
        shape = _shape(layout, x)
        sums = xp.empty((2, plan.parts, channels), dtype)
        result, coefficients = xp.empty((2, channels), dtype), xp.empty((5, channels), dtype)
        gamma, beta = given(xp, gamma, beta, channels, dtype)
        with x.device:
            _raw("batch_norm_products", x, relu, plan.width)(
                (plan.across, plan.parts),
                (THREADS,),
                (dy, x, kept, gamma, beta, sums, *shape),
            )
            m = np.dtype(dtype).type(layout.count)
            _raw("batch_norm_finish_backward", x)(
                *_per_channel(channels),
                (
                    *(sums, gamma, beta, kept, result, coefficients),
                    *(np.int32(plan.parts), shape[1], m),
                ),
            )
            vectors = _along(coefficients)
            arrays = layout.matrix(dy), layout.matrix(x), *vectors, layout.matrix(dx)
            _kernel("differentiate", x.dtype.name, relu)(*arrays)
        return result[0], result[1]

    def inference(self, x: Array, y: Array, how: How, mean: Array, var: Array) -> None:
        layout, gamma, beta, eps, relu = how
        gamma, beta = given(_module(), gamma, beta, layout.channels, computed(x))
        vectors = [vector.reshape(-1, 1) for vector in (mean, var, gamma, beta)]
        kernel = _kernel("infer", x.dtype.name, relu)
        with x.device:
            kernel(layout.matrix(x), *vectors, eps, layout.matrix(y))


def _module() -> Any:
    import cupy

    return cupy


def _shape(layout: Layout, x: Array) -> tuple[Any, ...]:
    """outer, channels and inner as the kernels' index type."""
    index = np.int64 if x.size >= WIDE else np.int32
    return index(layout.outer), index(layout.channels), index(layout.inner)


def _per_channel(channels: int) -> tuple[tuple[int], tuple[int]]:
    """Grid and block of a kernel with one thread a channel."""
    return (-(-channels // THREADS),), (THREADS,)


def _along(coefficients: Array) -> list[Array]:
    """Rows of one value a channel, so that they broadcast against (outer, channel, inner)."""
    return [row.reshape(-1, 1) for row in coefficients]


def _raw(name: str, x: Array, relu: bool = False, width: int = 1) -> Any:
    return raw_kernel(name, x.dtype.name, relu, width, x.size >= WIDE)


@cache
def raw_kernel(name: str, dtype: str, relu: bool, width: int, wide: bool) -> Any:
    """One of `cuda_text.KERNELS`."""
    include = "#include <cupy/float16.cuh>\n" if dtype == "float16" else ""
    return _module().RawKernel(include + source(name, dtype, relu, width, wide), name)


@cache
def _kernel(name: str, dtype: str, relu: bool) -> Any:
    return _module().ElementwiseKernel(**elementwise(name, dtype, relu))
