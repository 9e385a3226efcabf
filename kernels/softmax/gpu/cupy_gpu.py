"""Engine "cupy": softmax cross-entropy by RawKernels."""

from __future__ import annotations

import numpy as np

from ....backend import Array
from ...compiling.cuda_launch import RawKernel, made_once
from . import plan as plans
from .cuda_text import source
from .launches import GpuSoftmax
from .plan import CUDA_C, GpuPlan

_NULL = np.uint64(0)


class CupySoftmax(GpuSoftmax):
    """Compiles with NVRTC at the first call of each plan; CuPy keeps the machine code on disk."""

    name, room = "cupy", CUDA_C

    def rows(
        self,
        plan: GpuPlan,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
        losses: Array,
    ) -> None:
        rows, width = logits.shape
        kernel = raw_kernel(plan.kernel, logits.dtype.name, labels.dtype.name, *plan[:4])
        arrays = (logits, labels, _NULL if weights is None else weights, gradient, losses)
        sizes = np.int64(rows), (np.int64 if plan.wide else np.int32)(width)
        kernel(logits, plan.blocks, plan.threads, *arrays, *sizes)

    def mean(self, logits: Array, losses: Array, mean: Array) -> None:
        threads = plans.THREADS
        kernel = raw_kernel("softmax_mean", logits.dtype.name, "int64", threads, 1, 1, False)
        sizes = np.int32(losses.size), np.float64(len(logits))
        kernel(logits, 1, threads, losses, mean, *sizes)


@made_once
def raw_kernel(
    name: str, dtype: str, labels: str, threads: int, lanes: int, values: int, wide: bool
) -> RawKernel:
    """One of `cuda_text.KERNELS`; the arguments are those of `cuda_text.source`."""
    return RawKernel(name, dtype, source(name, dtype, labels, threads, lanes, values, wide))
