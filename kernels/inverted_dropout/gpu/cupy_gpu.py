"""Engine "cupy": dropout by one RawKernel, whose threads take four elements each."""

from __future__ import annotations

import numpy as np

from ....backend import Array
from ...compiling.dtypes import NAMES, compute_dtype
from ...compiling.gpu import cuda_launch
from ...compiling.gpu.cuda_launch import RawKernel, blocks_for, made_once
from ...graph.words import words
from ..contiguous import through_contiguous
from ..contract import DropoutEngine, Mask
from .cuda_text import NAME, source


class CupyDropout(DropoutEngine):
    """Runs on contiguous arrays; others go through copies."""

    name = "cupy"

    def run(self, x: Array, y: Array, mask: Mask) -> None:
        through_contiguous(x, y, lambda x, y: _launch(x, y, mask))


def _launch(x: Array, y: Array, mask: Mask) -> None:
    scale = np.dtype(compute_dtype(x.dtype)).type(mask.scale)
    numbers = np.int64(x.size), np.uint64(mask.seed), np.uint64(mask.draw), np.uint32(mask.last)
    blocks = blocks_for(x.size, each=4)
    given = (x, y, *numbers, scale, words().draws)
    raw_kernel(NAMES[x.dtype])(x, blocks, cuda_launch.THREADS, *given)


@made_once
def raw_kernel(dtype: str) -> RawKernel:
    """The kernel for one dtype."""
    return RawKernel(NAME, dtype, source(dtype))
