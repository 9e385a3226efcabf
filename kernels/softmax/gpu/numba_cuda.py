"""Engine "numba-cuda": softmax cross-entropy compiled by Numba for the GPU, on CuPy arrays."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np

from ....backend import Array, backend_of, device_of
from ...compiling.dtypes import compute_dtype
from ...compiling.gpu.cuda_launch import NumbaKernel, made_once
from ...compiling.gpu.first_launch import is_new, remember
from ...compiling.numba_reductions import add, largest_across, sum_across, tree_of
from ...compiling.python_text import rebound
from .. import formula
from ..array import ArraySoftmax
from . import numba_cuda_kernels
from . import plan as plans
from .launches import GpuSoftmax
from .plan import NUMBA, GpuPlan

# threads that a processor of the GPU must be able to hold, so that each has 64 or 128 registers
RESIDENT = {"float32": 1024, "float64": 512}
_FORMULAS = "added", "shares", "row_loss"
_PARTS = "class_of", "write_loss"  # of kernels of rows


class NumbaCudaSoftmax(GpuSoftmax):
    """Two launches, on CuPy's current stream: one writes the gradient and each block's losses, one
    the loss. Smoothed labels take array expressions instead."""

    name, room = "numba-cuda", NUMBA

    def loss(
        self, logits: Array, labels: Array, weights: Array | None, gradient: Array,
        label_smoothing: float,
    ) -> Array:  # fmt: skip
        if label_smoothing:
            return ArraySoftmax().loss(logits, labels, weights, gradient, label_smoothing)
        return self.on_runs(self._launch, logits, labels, weights, gradient)

    def _launch(
        self,
        plan: GpuPlan,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
    ) -> Array:
        xp, dtype = backend_of(logits).xp, logits.dtype
        code = "softmax mean", self.name, device_of(logits), dtype.name
        new = is_new(code)
        losses = (xp.zeros if new else xp.empty)(plan.blocks, compute_dtype(dtype))
        mean = xp.empty((), "float64")
        if new:  # so that nothing is missing once the gradient is written
            self._mean(logits, losses, mean)
            remember([code])
        rows = kernel(plan.kernel, dtype.name, *plan[:3])
        factors = (losses, False) if weights is None else (weights, True)
        blocks, threads = plan.blocks, plan.threads
        rows(logits, blocks, threads, logits, labels, *factors, gradient, losses)
        self._mean(logits, losses, mean)
        return mean

    def _mean(self, logits: Array, losses: Array, mean: Array) -> None:
        threads = plans.THREADS
        compiled = kernel("softmax_mean", logits.dtype.name, threads)
        compiled(logits, 1, threads, losses, mean.reshape(1), np.float64(len(logits)))


@made_once
def kernel(name: str, dtype: str, threads: int, lanes: int = 1, values: int = 1) -> NumbaKernel:
    """The CUDA kernel of that name for logits of a dtype; `values` of a row are kept a thread."""
    function = python_kernel(name, dtype, threads, lanes, values)
    return NumbaKernel(name, function, launch_bounds=launch_bounds(dtype, threads))


def launch_bounds(dtype: str, threads: int) -> tuple[int, int]:
    """Threads of a block, and how many blocks a processor must be able to hold."""
    return threads, max(1, RESIDENT[compute_dtype(dtype)] // threads)


def python_kernel(
    name: str, dtype: str, threads: int, lanes: int = 1, values: int = 1
) -> FunctionType:
    """The kernel as a Python function, for `cuda.jit`, the simulator and the PTX checks."""
    from numba import cuda, float32, float64, int64

    names: dict[str, Any] = {
        "cuda": cuda,
        "COMPUTED": float64 if compute_dtype(dtype) == "float64" else float32,
        "DOUBLE": float64,
        "INTEGER": int64,
        "THREADS": threads,
        "LANES": lanes,
        "KEPT": values,
        "WARP": plans.WARP,
        "WARPS": threads // plans.WARP,
    }
    names |= {each: cuda.jit(getattr(formula, each), device=True) for each in _FORMULAS}
    for part in (largest_across, sum_across):
        names[part.__name__] = cuda.jit(rebound(part, names), device=True)
    names["add_tree"] = tree_of(add, names)
    for each in _PARTS:
        names[each] = cuda.jit(rebound(getattr(numba_cuda_kernels, each), names), device=True)
    return rebound(getattr(numba_cuda_kernels, name), names)
