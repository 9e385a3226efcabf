"""Engine "numba-cuda": batch normalization compiled by Numba for the GPU, on CuPy arrays."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np

from ....backend import Array
from ....backend.failures import Explained
from ...compiling import cuda_launch
from ...compiling.cuda_launch import Blocks, NumbaKernel, blocks_for, device_functions, made_once
from ...compiling.numba_reductions import add, tree_of
from ...compiling.python_text import rebound
from .. import formula
from ..channel_vectors import computed, given
from ..contract import NOWHERE, BatchNormEngine, How, Places, Running
from . import numba_cuda_kernels
from .numba_cuda_plan import gpu_plan

KERNELS = (
    "moments",
    "products",
    "finish_forward",
    "finish_backward",
    "normalize",
    "differentiate",
    "infer",
)
"""The names of all kernels."""

_FORMULAS = (
    "middle",
    "welford",
    "merged",
    "deviation",
    "affine",
    "averaged",
    "normalized",
    "rectified",
    "gradients",
    "input_gradient",
)


class NumbaCudaBatchNorm(BatchNormEngine):
    """Three launches forward (sums, one thread a channel, y), three backward, one for inference,
    on CuPy's current stream."""

    name = "numba-cuda"

    def forward(self, x: Array, y: Array, how: How, running: Running | None) -> Array:
        import cupy

        layout, gamma, beta, eps, relu = how
        channels, inner, dtype = layout.channels, layout.inner, computed(x)
        number, threads = np.dtype(dtype).type, cuda_launch.THREADS
        plan = gpu_plan(layout.outer, channels, inner, threads)
        means, m2s = cupy.empty((2, plan.parts, channels), dtype)
        kept, coefficients = cupy.empty((2, 3, channels), dtype)
        gamma, beta = given(cupy, gamma, beta, channels, dtype)
        mean, var, momentum = running or (kept[0], kept[0], 0.0)
        flat = layout.flat(x)
        across = plan.across, plan.parts
        _launch("moments", x, relu, across, flat, means, m2s, plan.width, inner)
        _launch(
            *("finish_forward", x, relu, -(-channels // threads)),
            *(flat, means, m2s, gamma, beta, mean, var, kept, coefficients, inner),
            *(number(eps), number(momentum), number(1.0 - momentum), running is not None),
        )
        blocks = blocks_for(x.size)
        _launch("normalize", x, relu, blocks, flat, coefficients, layout.flat(y), inner)
        return kept

    def backward(
        self, dy: Array, x: Array, dx: Array, how: How, kept: Array, places: Places = NOWHERE
    ) -> tuple[Array, Array]:
        import cupy

        layout, gamma, beta, _, relu = how
        channels, inner, dtype = layout.channels, layout.inner, computed(x)
        threads = cuda_launch.THREADS
        plan = gpu_plan(layout.outer, channels, inner, threads)
        sums = cupy.empty((2, plan.parts, channels), dtype)
        result, coefficients = cupy.empty((2, channels), dtype), cupy.empty((5, channels), dtype)
        gamma, beta = given(cupy, gamma, beta, channels, dtype)
        flat_dy, flat = layout.flat(dy), layout.flat(x)
        _launch(
            *("products", x, relu, (plan.across, plan.parts)),
            *(flat_dy, flat, kept, gamma, beta, sums, plan.width, inner),
        )
        _launch(
            *("finish_backward", x, relu, -(-channels // threads)),
            *(sums, gamma, beta, kept, result, coefficients),
            np.dtype(dtype).type(layout.count),
        )
        _launch(
            *("differentiate", x, relu, blocks_for(x.size)),
            *(flat_dy, flat, coefficients, layout.flat(dx), inner),
        )
        return result[0], result[1]

    def inference(self, x: Array, y: Array, how: How, mean: Array, var: Array) -> None:
        import cupy

        layout, gamma, beta, eps, relu = how
        dtype = computed(x)
        gamma, beta = given(cupy, gamma, beta, layout.channels, dtype)
        _launch(
            *("infer", x, relu, blocks_for(x.size)),
            *(layout.flat(x), mean, var, gamma, beta),
            *(np.dtype(dtype).type(eps), layout.flat(y), layout.inner),
        )


def _launch(name: str, x: Array, relu: bool, blocks: Blocks, *arguments: Any) -> None:
    """Launch a kernel for arrays like `x`."""
    with Explained(name, x, "numba-cuda"):
        kernel(name, computed(x), relu)(x, blocks, cuda_launch.THREADS, *arguments)


@made_once
def kernel(name: str, dtype: str, relu: bool) -> NumbaKernel:
    """The CUDA kernel of that name; `dtype` is what it computes in."""
    return NumbaKernel(name, python_kernel(name, dtype, relu))


def python_kernel(name: str, dtype: str, relu: bool) -> FunctionType:
    """The kernel as a Python function, for `cuda.jit`, the simulator and the PTX checks."""
    from numba import cuda, float32, float64

    formulas = {
        each: cuda.jit(rebound(getattr(formula, each), device_functions()), device=True)
        for each in _FORMULAS
    }
    names = {
        **formulas,
        "cuda": cuda,
        "COMPUTED": float64 if dtype == "float64" else float32,
        "RELU": relu,
        "THREADS": cuda_launch.THREADS,
    }
    names["near_of"] = cuda.jit(rebound(numba_cuda_kernels.near_of, names), device=True)
    names["merge_tree"] = tree_of(numba_cuda_kernels.merge, names)
    names["add_tree"] = tree_of(add, names)
    return rebound(getattr(numba_cuda_kernels, name), names)
