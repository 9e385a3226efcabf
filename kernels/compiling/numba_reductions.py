"""How the threads of a block join what each has, for Numba: the same order as cuda_reductions.py.

Kernels take these functions as device functions, with the names in capitals and `cuda` replaced.
"""

from __future__ import annotations

from typing import Any

from .python_text import rebound

THREADS = 1
EVERY = 0xFFFFFFFF
JOIN: Any = None
cuda: Any = None


def tree(rows: Any, width: int) -> None:
    """Join `rows` of shared memory, in which each thread has a column, until `width` have all."""
    t, half = cuda.threadIdx.x, THREADS // width // 2
    while half > 0:
        cuda.syncthreads()
        if t // width < half:
            JOIN(rows, t, t + half * width)
        half //= 2


def add(rows: Any, t: int, other: int) -> None:
    """Joins sums."""
    for k in range(rows.shape[0]):
        rows[k, t] += rows[k, other]


def largest_across(value: Any, lanes: int) -> Any:
    """The maximum over neighbouring lanes of a warp, in each of them."""
    by = lanes // 2
    while by > 0:
        value = max(value, cuda.shfl_xor_sync(EVERY, value, by))
        by //= 2
    return value


def sum_across(value: Any, lanes: int) -> Any:
    """Their sum."""
    by = lanes // 2
    while by > 0:
        value += cuda.shfl_xor_sync(EVERY, value, by)
        by //= 2
    return value


def tree_of(join: Any, names: dict[str, Any]) -> Any:
    """`tree` of a device function, for a kernel with these names."""
    device = names["cuda"].jit
    names = {**names, "JOIN": device(rebound(join, names), device=True)}
    return device(rebound(tree, names), device=True)
