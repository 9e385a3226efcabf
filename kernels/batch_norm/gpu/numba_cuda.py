"""Engine "numba-cuda": batch normalization compiled by Numba for the GPU, on CuPy arrays."""

from __future__ import annotations

from itertools import pairwise
from types import FunctionType
from typing import Any

import numpy as np

from ....backend import Array
from ....backend.failures import Explained
from ...compiling.gpu import cuda_launch
from ...compiling.gpu.cuda_launch import (
    Blocks,
    NumbaKernel,
    blocks_for,
    device_functions,
    made_once,
)
from ...compiling.numba_reductions import add, tree_of
from ...compiling.python_text import rebound
from .. import formula
from ..channel_vectors import computed, given
from ..contract import NOWHERE, BatchNormEngine, Gate, How, Places, Running
from ..layout import Layout
from . import numba_cuda_kernels
from .joined import joined_moments, joined_products
from .numba_cuda_plan import GpuPlan, gpu_plan

KERNELS = (
    "moments",
    "products",
    "finish_forward",
    "finish_backward",
    "normalize",
    "differentiate",
    "infer",
    "normalize_residual",
    "products_residual",
    "infer_residual",
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
    "added",
    "rectified",
    "gradients",
    "input_gradient",
)


class NumbaCudaBatchNorm(BatchNormEngine):
    """Three launches forward (sums, one thread a channel, y), three backward, one for inference,
    on CuPy's current stream."""

    name = "numba-cuda"

    def forward(
        self, x: Array, y: Array, how: How, running: Running | None, residual: Array | None = None
    ) -> Array:
        import cupy

        layout, gamma, beta, eps, relu = how
        channels, inner, dtype = layout.channels, layout.inner, computed(x)
        number, threads = np.dtype(dtype).type, cuda_launch.THREADS
        means, m2s = _room(x, layout)
        kept, coefficients = cupy.empty((2, 3, channels), dtype)
        gamma, beta = given(cupy, gamma, beta, channels, dtype)
        mean, var, momentum = running or (kept[0], kept[0], 0.0)
        flat = layout.flat(x)
        _sum_up("moments", x, relu, layout, flat, means, m2s)
        _launch(
            *("finish_forward", x, relu, -(-channels // threads)),
            *(flat, means, m2s, gamma, beta, mean, var, kept, coefficients, inner),
            *(number(eps), number(momentum), number(1.0 - momentum), running is not None),
        )
        name, beside = _beside("normalize", layout, residual)
        blocks, written = blocks_for(x.size), layout.flat(y)
        _launch(name, x, relu, blocks, flat, *beside, coefficients, written, inner)
        return kept

    def backward(
        self,
        dy: Array,
        x: Array,
        dx: Array,
        how: How,
        kept: Array,
        places: Places = NOWHERE,
        gate: Gate | None = None,
    ) -> tuple[Array, Array]:
        import cupy

        layout, gamma, beta, _, _ = how
        channels, dtype = layout.channels, computed(x)
        sums = _room(x, layout)
        room = cupy.empty((2, channels), dtype), cupy.empty((5, channels), dtype)
        affine = given(cupy, gamma, beta, channels, dtype)
        _products(dy, x, how, kept, affine, sums, gate)
        if gate is not None:
            dy, how = gate.dz, how._replace(relu=False)
        _apply_sums(dy, x, dx, how, kept, affine, sums, layout.count, room)
        result, _ = room
        return result[0], result[1]

    def inference(
        self,
        x: Array,
        y: Array,
        how: How,
        mean: Array,
        var: Array,
        residual: Array | None = None,
    ) -> None:
        import cupy

        layout, gamma, beta, eps, relu = how
        dtype = computed(x)
        gamma, beta = given(cupy, gamma, beta, layout.channels, dtype)
        name, beside = _beside("infer", layout, residual)
        _launch(
            *(name, x, relu, blocks_for(x.size)),
            *(layout.flat(x), *beside, mean, var, gamma, beta),
            *(np.dtype(dtype).type(eps), layout.flat(y), layout.inner),
        )

    def moments(self, x: Array, layout: Layout) -> Array:
        means, m2s = _room(x, layout)
        _sum_up("moments", x, False, layout, layout.flat(x), means, m2s)
        rows, parts = layout.matrix(x), len(means)
        some = rows[0, :, 0], rows[layout.outer // 2, :, layout.inner // 2], rows[-1, :, -1]
        (near,) = formula.middle(*(each.astype(computed(x)) for each in some))  # as near_of()
        ends = [part * layout.count // parts for part in range(parts + 1)]
        counts = [end - start for start, end in pairwise(ends)]
        return joined_moments(near, means, m2s, counts)

    def products(
        self, dy: Array, x: Array, how: How, kept: Array, gate: Gate | None = None
    ) -> Array:
        import cupy

        layout, sums = how.layout, _room(x, how.layout)
        affine = given(cupy, how.gamma, how.beta, layout.channels, computed(x))
        _products(dy, x, how, kept, affine, sums, gate)
        return joined_products(sums)

    def differentiate(
        self, dy: Array, x: Array, dx: Array, how: How, kept: Array, sums: Array, count: int
    ) -> None:
        import cupy

        channels, dtype = how.layout.channels, computed(x)
        room = cupy.empty((2, channels), dtype), cupy.empty((5, channels), dtype)
        affine = given(cupy, how.gamma, how.beta, channels, dtype)
        totals = cupy.empty((2, 1, channels), dtype)
        totals[:, 0] = sums
        _apply_sums(dy, x, dx, how, kept, affine, totals, count, room)


def _plan(layout: Layout) -> GpuPlan:
    return gpu_plan(layout.outer, layout.channels, layout.inner, cuda_launch.THREADS)


def _room(x: Array, layout: Layout) -> Array:
    """Memory for two sums a channel of each part, (2, parts, C)."""
    import cupy

    return cupy.empty((2, _plan(layout).parts, layout.channels), computed(x))


def _sum_up(name: str, x: Array, relu: bool, layout: Layout, *arrays: Array) -> None:
    """Launch a kernel that sums up in parts."""
    plan = _plan(layout)
    _launch(name, x, relu, (plan.across, plan.parts), *arrays, plan.width, layout.inner)


def _products(
    dy: Array, x: Array, how: How, kept: Array, affine: tuple[Array, Array], sums: Array,
    gate: Gate | None,
) -> None:  # fmt: skip
    """The sums of parts, (2, parts, C), and dz of a gate."""
    layout, relu = how.layout, how.relu
    flat, flat_dy = layout.flat(x), layout.flat(dy)
    if gate is None:
        _sum_up("products", x, relu, layout, flat_dy, flat, kept, *affine, sums)
    else:
        passed = layout.flat(gate.y), layout.flat(gate.dz)
        _sum_up("products_residual", x, relu, layout, flat_dy, *passed, flat, kept, sums)


def _beside(name: str, layout: Layout, residual: Array | None) -> tuple[str, tuple[Array, ...]]:
    """The kernel of that name with a residual or without, and what it reads beside x."""
    return (name, ()) if residual is None else (f"{name}_residual", (layout.flat(residual),))


def _apply_sums(
    dy: Array, x: Array, dx: Array, how: How, kept: Array, affine: tuple[Array, Array],
    sums: Array, count: int, room: tuple[Array, Array],
) -> None:  # fmt: skip
    """dx from the sums of parts, (2, parts, C), of `count` values a channel. `room` is for dgamma
    and dbeta, (2, C), and for coefficients, (5, C)."""
    layout, relu, dtype = how.layout, how.relu, computed(x)
    result, coefficients = room
    _launch(
        *("finish_backward", x, relu, -(-layout.channels // cuda_launch.THREADS)),
        *(sums, *affine, kept, result, coefficients, np.dtype(dtype).type(count)),
    )
    _launch(
        *("differentiate", x, relu, blocks_for(x.size)),
        *(layout.flat(dy), layout.flat(x), coefficients, layout.flat(dx), layout.inner),
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
