"""Arrays of any layout for GPU kernels that take runs of memory only."""

from __future__ import annotations

from collections.abc import Callable

from ...backend import Array, backend_of


def through_contiguous(x: Array, y: Array, kernel: Callable[[Array, Array], None]) -> None:
    """Call `kernel`(x, y) with C-contiguous arrays of the same values; what it wrote goes into y.

    All memory is taken before it is called.
    """
    written = y if y.flags.c_contiguous else backend_of(x).empty(y.shape, y.dtype)
    kernel(x if x.flags.c_contiguous else x.copy(), written)
    if written is not y:
        y[...] = written
