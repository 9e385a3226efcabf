"""What the GPU engines share: arrays without gaps, and the plan for them."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from ....backend import Array, backend_of
from ...compiling.dtypes import compute_dtype
from ..contract import SoftmaxEngine
from .plan import GpuPlan, Room, gpu_plan


class GpuSoftmax(SoftmaxEngine):
    """What is not contiguous is copied first, or written to memory of its own and copied last."""

    room: ClassVar[dict[str, Room]]

    @abstractmethod
    def launch(
        self,
        plan: GpuPlan,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
        correct: Array | None,
    ) -> Array:
        """Write the gradient and how many rows are right, and return the loss."""

    def run(
        self,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
        correct: Array | None = None,
    ) -> Array:
        dtype = compute_dtype(logits.dtype)
        rows, width = logits.shape
        plan = gpu_plan(rows, width, self.room[dtype])
        z, k = _contiguous(logits), _contiguous(labels)
        if weights is not None:
            weights = _contiguous(weights.astype(dtype, copy=False))
        fits = gradient.flags.c_contiguous
        result = gradient
        if not fits:
            result = backend_of(logits).xp.empty(logits.shape, logits.dtype)
        loss = self.launch(plan, z, k, weights, result, correct)
        if not fits:
            gradient[...] = result
        return loss


def _contiguous(array: Array) -> Array:
    return array if array.flags.c_contiguous else array.copy()
