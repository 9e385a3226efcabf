"""Engine "cupy": softmax cross-entropy by RawKernels."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ....backend import Array
from ....backend.failures import Explained
from ...compiling.dtypes import GPU_COMPUTED, NAMES
from ...compiling.gpu.cuda_launch import (
    NULL,
    RawKernel,
    made_lately,
    made_once,
    zero_between_launches,
)
from .cuda_text import source
from .launches import GpuSoftmax
from .plan import CUDA_C, GpuPlan, gpu_plan

_COUNT = np.dtype("int64")


class CupySoftmax(GpuSoftmax):
    """One launch. NVRTC compiles each plan at its first call; CuPy keeps the code on disk."""

    name, room = "cupy", CUDA_C

    def quick(
        self,
        logits: Any,
        labels: Any,
        weights: Any,
        out: Any,
        correct: Any,
        label_smoothing: float,
    ) -> tuple[Array, Array] | None:
        """Of arrays without gaps on one device; `out` None or the logits themselves."""
        import cupy

        kind, dtype = cupy.ndarray, GPU_COMPUTED.get(logits.dtype)
        if dtype is None or logits.ndim != 2 or not logits.size or type(labels) is not kind:
            return None
        rows = len(logits)
        if labels.dtype.kind not in "iu" or labels.shape != (rows,):
            return None
        given = [logits, labels]
        if weights is not None:
            if type(weights) is not kind or weights.dtype != dtype or weights.shape != (rows,):
                return None
            given.append(weights)
        if correct is not None:
            if type(correct) is not kind or correct.dtype != _COUNT or correct.shape != ():
                return None
            given.append(correct)
        device = logits.data.device_id
        for array in given:
            if array.data.device_id != device or not array.flags.c_contiguous:
                return None
        if out is not None and (out is not logits or _reaches(out, given[1:])):
            return None
        if correct is not None and _reaches(correct, given[:-1]):
            return None
        with logits.device, Explained("softmax_cross_entropy", logits, self.name):
            plan = _plan(rows, logits.shape[1], NAMES[dtype])
            gradient = cupy.empty(logits.shape, logits.dtype) if out is None else out
            arrays = (logits, labels, weights, gradient, correct)
            return self._launch(plan, *arrays, label_smoothing), gradient

    def run(
        self,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
        correct: Array | None = None,
        label_smoothing: float = 0.0,
    ) -> Array:
        launch = partial(self._launch, correct=correct, label_smoothing=label_smoothing)
        return self.on_runs(launch, logits, labels, weights, gradient)

    def loss(
        self, logits: Array, labels: Array, weights: Array | None, gradient: Array,
        label_smoothing: float,
    ) -> Array:  # fmt: skip
        return self.run(logits, labels, weights, gradient, None, label_smoothing)

    def _launch(
        self,
        plan: GpuPlan,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
        correct: Array | None = None,
        label_smoothing: float = 0.0,
    ) -> Array:
        import cupy

        rows, width = logits.shape
        dtype = GPU_COMPUTED[logits.dtype]
        form: tuple[Any, ...] = plan[:4]
        if label_smoothing:
            form += (True,)
        kernel = raw_kernel(plan.kernel, NAMES[logits.dtype], NAMES[labels.dtype], *form)
        parts = cupy.empty(2 * plan.blocks, dtype)
        mean, done = cupy.empty((), "float64"), zero_between_launches(logits)
        factors, count = (NULL if each is None else each for each in (weights, correct))
        arrays = (logits, labels, factors, gradient, parts, done, mean, count)
        sizes: tuple[Any, ...] = np.int64(rows), (np.int64 if plan.wide else np.int32)(width)
        if label_smoothing:
            sizes += (dtype.type(label_smoothing),)
        kernel(logits, plan.blocks, plan.threads, *arrays, *sizes)
        return mean


def _reaches(written: Array, others: list[Array]) -> bool:
    """Whether an array shares memory with one of the others; none of them has gaps."""
    start = written.data.ptr
    end = start + written.nbytes
    for array in others:
        place = array.data.ptr
        if place < end and start < place + array.nbytes:
            return True
    return False


@made_lately
def _plan(rows: int, width: int, dtype: str) -> GpuPlan:
    return gpu_plan(rows, width, CupySoftmax.room[dtype])


@made_once
def raw_kernel(
    name: str, dtype: str, labels: str, threads: int, lanes: int, values: int, wide: bool,
    smoothed: bool = False,
) -> RawKernel:  # fmt: skip
    """One of `cuda_text.KERNELS`; the arguments are those of `cuda_text.source`."""
    text = source(name, dtype, labels, threads, lanes, values, wide, smoothed)
    return RawKernel(name, dtype, text)
