"""Engine "numba-cuda": a kernel a layout and size of blocks, compiled by Numba, on CuPy arrays."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ....backend import device_of
from ....backend.failures import Explained
from ...compiling.gpu import cuda_launch
from ...compiling.gpu.cuda_launch import NumbaKernel, made_once
from ...compiling.gpu.first_launch import is_new, remember
from ..base import EncodedEngine, Step
from ..layout import Layout
from ..state8bit import blocks_of


class NumbaCudaEngine(EncodedEngine):
    """A launch a call. Code that is missing is compiled by launches on no elements ahead of all."""

    name = "numba-cuda"

    def run(self, steps: Sequence[Step], kept: dict[str, Any]) -> bool:
        new = {code: step for step in steps if is_new(code := _code(step))}
        for step in new.values() if len(steps) > 1 else ():
            _run(step, 0)
        remember(new)
        for step in steps:
            _run(step, step.call.param.size)
        return True


def _code(step: Step) -> Hashable:
    """What decides which machine code a launch takes."""
    call = step.call
    return NumbaCudaEngine.name, call.layout, call.block, device_of(call.param)


def _run(step: Step, size: int) -> None:
    """On the first elements of a call."""
    from .numba_cuda_kernels import threads_of

    call = step.call
    with Explained(call.layout.rule.name, call.param, NumbaCudaEngine.name):
        blocks = max(1, min(blocks_of(size, call.block), cuda_launch.MAX_BLOCKS))
        kernel(call.layout, call.block)(
            *(call.param, blocks, threads_of(call.block)),
            *(array.reshape(-1) for array in call.arrays),
            *(np.int64(size), np.uint32(step.key & 0xFFFFFFFF), np.uint32(step.key >> 32)),
            *np.array(step.coefficients, np.float32),
        )


@made_once
def kernel(layout: Layout, block: int) -> NumbaKernel:
    """The kernel (*arrays, size, key0, key1, *coefficients) of a layout."""
    from .numba_cuda_kernels import python_kernel

    return NumbaKernel(layout.name, python_kernel(layout, block))
