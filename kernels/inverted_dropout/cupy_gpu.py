"""Engine "cupy": dropout by one RawKernel, whose threads take four elements each."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...backend import Array
from ..compiling.dtypes import compute_dtype
from .contiguous import through_contiguous
from .contract import DropoutEngine, Mask
from .cuda_text import NAME, THREADS, source

MAX_BLOCKS = 1 << 16  # beyond that, each thread takes four elements several times


class CupyDropout(DropoutEngine):
    """Runs on contiguous arrays; others go through copies."""

    name = "cupy"

    def run(self, x: Array, y: Array, mask: Mask) -> None:
        through_contiguous(x, y, lambda x, y: _launch(x, y, mask))


def _launch(x: Array, y: Array, mask: Mask) -> None:
    kernel = raw_kernel(NAME, x.dtype.name)
    blocks = min(-(-x.size // (4 * THREADS)), MAX_BLOCKS)
    scale = np.dtype(compute_dtype(x.dtype)).type(mask.scale)
    numbers = np.int64(x.size), np.uint64(mask.seed), np.uint64(mask.draw), np.uint32(mask.last)
    kernel((blocks,), (THREADS,), (x, y, *numbers, scale))


def _module() -> Any:
    import cupy

    return cupy


@cache
def raw_kernel(name: str, dtype: str) -> Any:
    """The kernel for one dtype."""
    include = "#include <cupy/float16.cuh>\n" if dtype == "float16" else ""
    return _module().RawKernel(include + source(dtype), name)
