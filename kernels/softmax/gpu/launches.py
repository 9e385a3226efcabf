"""What the GPU engines share: arrays without gaps, and the plan for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

from ....backend import Array, backend_of
from ...compiling.dtypes import compute_dtype
from ..contract import SoftmaxEngine
from .plan import GpuPlan, Room, gpu_plan

Launch: TypeAlias = Callable[[GpuPlan, Array, Array, Array | None, Array], Array]
"""Writes the gradient of logits, labels and weights (or None), and returns the loss."""


class GpuSoftmax(SoftmaxEngine):
    """What is not contiguous is copied first, or written to memory of its own and copied last."""

    room: ClassVar[dict[str, Room]]

    def on_runs(
        self,
        launch: Launch,
        logits: Array,
        labels: Array,
        weights: Array | None,
        gradient: Array,
    ) -> Array:
        """What `launch` returns, given arrays without gaps and the plan for them."""
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
        loss = launch(plan, z, k, weights, result)
        if not fits:
            gradient[...] = result
        return loss


def _contiguous(array: Array) -> Array:
    return array if array.flags.c_contiguous else array.copy()
