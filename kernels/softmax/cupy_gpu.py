"""Engine "cupy": softmax cross-entropy by RawKernels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...backend import Array
from . import gpu_plan
from .cuda_text import source
from .gpu_launches import GpuSoftmax
from .gpu_plan import CUDA_C, GpuPlan

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
        with logits.device:
            kernel((plan.blocks,), (plan.threads,), (*arrays, *sizes))

    def mean(self, logits: Array, losses: Array, mean: Array) -> None:
        threads = gpu_plan.THREADS
        kernel = raw_kernel("softmax_mean", logits.dtype.name, "int64", threads, 1, 1, False)
        with logits.device:
            kernel((1,), (threads,), (losses, mean, np.int32(losses.size), np.float64(len(logits))))


@cache
def raw_kernel(
    name: str, dtype: str, labels: str, threads: int, lanes: int, kept: int, wide: bool
) -> Any:
    """One of `cuda_text.KERNELS`; the arguments are those of `cuda_text.source`."""
    import cupy

    include = "#include <cupy/float16.cuh>\n" if dtype == "float16" else ""
    text = source(name, dtype, labels, threads, lanes, kept, wide)
    return cupy.RawKernel(include + text, name)
