"""Engine "cupy": a RawKernel a layout and size of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....backend.failures import Explained
from ...compiling.gpu import cuda_launch
from ...compiling.gpu.cuda_launch import RawKernel, made_once
from ..base import EncodedEngine, Step
from ..layout import Layout
from .cuda_text import EACH, source, symbol, threads_of


class CupyEngine(EncodedEngine):
    """A launch a call; all kernels are compiled before the first."""

    name = "cupy"

    def run(self, steps: Sequence[Step], kept: dict[str, Any]) -> bool:
        with steps[0].call.param.device:
            made = []
            for step in steps:
                with _explained(step):
                    made.append(raw_kernel(step.call.layout, step.call.block))
            for kernel, step in zip(made, steps, strict=True) if len(steps) > 1 else ():
                with _explained(step):
                    kernel.compile()
            for kernel, step in zip(made, steps, strict=True):
                with _explained(step):
                    _launch(kernel, step)
        return True


def _explained(step: Step) -> Explained:
    return Explained(step.call.layout.rule.name, step.call.param, CupyEngine.name)


def _launch(kernel: RawKernel, step: Step) -> None:
    call = step.call
    threads = threads_of(call.block, cuda_launch.THREADS)
    size = call.param.size
    blocks = min(-(-size // (threads * EACH)), cuda_launch.MAX_BLOCKS)
    keys = np.uint32(step.key & 0xFFFFFFFF), np.uint32(step.key >> 32)
    scalars = np.array(step.coefficients, np.float32)
    kernel(call.param, blocks, threads, *call.arrays, np.int64(size), *keys, *scalars)


@made_once
def raw_kernel(layout: Layout, block: int) -> RawKernel:
    """The kernel (*arrays, size, key0, key1, *coefficients) of a layout."""
    text = source(layout, block, threads_of(block, cuda_launch.THREADS))
    return RawKernel(layout.name, "float32", text, symbol(layout, block))
