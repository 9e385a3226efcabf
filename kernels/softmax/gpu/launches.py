"""What the GPU engines share: the memory of a call, and the order of its launches."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from ....backend import Array, backend_of, device_of
from ...compiling.dtypes import compute_dtype
from ...compiling.first_launch import is_new, remember
from ..contract import SoftmaxEngine
from .plan import GpuPlan, Room, gpu_plan


class GpuSoftmax(SoftmaxEngine):
    """Two launches: one writes the gradient and each block's losses, one the loss.

    What is not contiguous is copied first, or written to memory of its own and copied last.
    """

    room: ClassVar[dict[str, Room]]

    @abstractmethod
    def rows(
        self,
        plan: GpuPlan,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
        losses: Array,
    ) -> None:
        """Write the gradient, and the sum of the rows' losses of each block."""

    @abstractmethod
    def mean(self, logits: Array, losses: Array, mean: Array) -> None:
        """Write the sum of `losses` by the number of rows."""

    def run(self, logits: Array, labels: Array, weights: Array | None, gradient: Array) -> Array:
        xp = backend_of(logits).xp
        rows, width = logits.shape
        dtype = compute_dtype(logits.dtype)
        plan = gpu_plan(rows, width, self.room[dtype])
        z, k = _contiguous(logits), _contiguous(labels)
        if weights is not None:
            weights = _contiguous(weights.astype(dtype, copy=False))
        fits = gradient.flags.c_contiguous
        result = gradient if fits else xp.empty(logits.shape, logits.dtype)
        code = "softmax mean", self.name, device_of(logits), logits.dtype.name
        new = is_new(code)
        losses = (xp.zeros if new else xp.empty)(plan.blocks, dtype)
        mean = xp.empty((), "float64")
        if new:  # so that nothing is missing once the gradient is written
            self.mean(logits, losses, mean)
            remember([code])
        self.rows(plan, z, k, weights, result, losses)
        self.mean(logits, losses, mean)
        if not fits:
            gradient[...] = result
        return mean


def _contiguous(array: Array) -> Array:
    return array if array.flags.c_contiguous else array.copy()
