"""The tasks of activations on the CPU: each takes some rows.

Memory is one run of rows. Short rows are joined to rows worth a loop, the bias repeated along them;
sums over such columns are added up at the end. A task sums ROWS rows in the arrays' own precision
before double takes over, so that many rows cost no digits. How arrays are cut depends on their
shape alone, so results don't depend on who does which task.

Each function is compiled once for every kind and dtype: COMPUTED is replaced then, and the loops
(numba_compile.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...simd.denormals import flush_denormals, restore_denormals
from ...simd.loops import copy, fill, inline
from .numba_loops import (
    add,
    add_four,
    apply,
    apply_biased,
    apply_biased_in_place,
    apply_in_place,
    differentiate,
    differentiate_in_place,
)

COMPUTED: Any = np.float32  # what is computed in

JOINED = 256  # elements that short rows are joined to
TILE = 1024  # columns whose sums stay in a core's nearest cache
ROWS = 32
TASKS = 64  # at most, so that few sums remain to be added up


@inline
def cut(size: Any, width: Any) -> Any:
    """Elements of a row, elements of a task, and the number of tasks."""
    period = max(1, JOINED // width) * width
    rows = -(-size // period)
    height = -(-rows // (TASKS * ROWS)) * ROWS
    return period, height * period, -(-rows // height)


def forward_tasks(x: Any, bias: Any, y: Any, slope: float, low: int, high: int) -> None:
    """y = f(x + bias), or f(x) where bias is empty, for tasks low to high."""
    before = flush_denormals()
    slope, zero, one = COMPUTED(slope), COMPUTED(0), COMPUTED(1)
    period, length, _ = cut(y.size, max(1, bias.size))
    start, end = low * length, min(high * length, y.size)
    in_place = x.ctypes.data == y.ctypes.data
    if bias.size == 0:
        if in_place:
            apply_in_place(y[start:end], slope, zero, one)
        else:
            apply(x[start:end], y[start:end], slope, zero, one)
    else:
        repeated = np.empty(period, bias.dtype)
        for k in range(0, period, bias.size):
            copy(bias, repeated[k : k + bias.size])
        for k in range(start, end, period):
            stop = min(k + period, end)
            if in_place:
                apply_biased_in_place(repeated, y[k:stop], slope, zero, one)
            else:
                apply_biased(x[k:stop], repeated, y[k:stop], slope, zero, one)
    restore_denormals(before)


def backward_tasks(dy: Any, y: Any, dz: Any, sums: Any, slope: float, low: int, high: int) -> None:
    """dz = dy f'(z) for tasks low to high, and each one's sums over columns if `sums` has any."""
    before = flush_denormals()
    slope, zero, one = COMPUTED(slope), COMPUTED(0), COMPUTED(1)
    width = sums.shape[1]
    period, length, _ = cut(dz.size, max(1, width))
    if width == 0:
        period = length
    in_place = dy.ctypes.data == dz.ctypes.data
    columns = np.empty(min(TILE, period), COMPUTED)
    for task in range(low, high):
        own, last = sums[task], min((task + 1) * length, dz.size)
        fill(own, 0.0)
        for top in range(task * length, last, ROWS * period):
            bottom = min(top + ROWS * period, last)
            for left in range(0, period, TILE):
                n = min(TILE, period - left)
                part, at = columns[:n], top + left
                if width:
                    fill(part, zero)
                while at < bottom:
                    rows = 4 if at + 3 * period + n <= bottom else 1
                    for k in range(at, at + rows * period, period):
                        stop = min(k + n, bottom)
                        if in_place:
                            differentiate_in_place(y[k:stop], dz[k:stop], slope, zero, one)
                        else:
                            differentiate(dy[k:stop], y[k:stop], dz[k:stop], slope, zero, one)
                    if width and rows == 4:
                        b, c, d = at + period, at + 2 * period, at + 3 * period
                        add_four(part, dz[at : at + n], dz[b : b + n], dz[c : c + n], dz[d : d + n])
                    elif width:
                        add(part, dz[at : min(at + n, bottom)])
                    at += rows * period
                if width:
                    for k in range(0, n, width):
                        add(own[left:], part[k : min(k + width, n)])
    restore_denormals(before)
