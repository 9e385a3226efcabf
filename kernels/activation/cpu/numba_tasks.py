"""The tasks of activations on the CPU: each takes some rows.

Memory is one run of rows. Short rows are joined to rows worth a loop, the bias repeated along them;
sums over such columns are added up at the end. A task sums ROWS rows in the arrays' own precision
before double takes over, so that many rows cost no digits. How arrays are cut depends on their
shape alone, so results don't depend on who does which task.

Each function is compiled once for every kind and dtype: names in capitals are replaced then, and
the loops (numba_compile.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...simd.denormals import flush_denormals, restore_denormals
from ...simd.loops import copy, fill, inline
from ...simd.memory import address, span
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
FROM_X = False  # whether gradients are told from x and the bias

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


def forward_tasks(
    x: Any, bias: Any, y: Any, first: float, second: float, low: int, high: int
) -> None:
    """y = f(x + bias), or f(x) where bias is empty, for tasks low to high."""
    before = flush_denormals()
    first, second = COMPUTED(first), COMPUTED(second)
    period, length, _ = cut(y.size, max(1, bias.size))
    start, end = low * length, min(high * length, y.size)
    in_place = address(x) == address(y)
    if bias.size == 0:
        if in_place:
            apply_in_place(span(y, start, end), first, second)
        else:
            apply(span(x, start, end), span(y, start, end), first, second)
    else:
        repeated = repeat(bias, period)
        for k in range(start, end, period):
            stop = min(k + period, end)
            if in_place:
                apply_biased_in_place(repeated, span(y, k, stop), first, second)
            else:
                apply_biased(span(x, k, stop), repeated, span(y, k, stop), first, second)
    restore_denormals(before)


@inline
def repeat(bias: Any, period: Any) -> Any:
    """The bias of a row that short ones are joined to."""
    repeated = np.empty(period, bias.dtype)
    for k in range(0, period, bias.size):
        copy(bias, span(repeated, k, k + bias.size))
    return repeated


def backward_tasks(
    dy: Any, y: Any, dz: Any, bias: Any, sums: Any, width: int, first: float, second: float,
    low: int, high: int,
) -> None:  # fmt: skip
    """dz = dy f'(z) for tasks low to high, and each one's `width` sums over columns; bias may be
    empty."""
    before = flush_denormals()
    first, second = COMPUTED(first), COMPUTED(second)
    period, length, _ = cut(dz.size, max(1, width, bias.size))
    if max(width, bias.size) == 0:
        period = length
    if FROM_X and bias.size:
        added = repeat(bias, period)
    else:
        added = np.zeros(min(TILE, period) if FROM_X else 0, bias.dtype)
    in_place = address(dy) == address(dz)
    columns = np.empty(min(TILE, period), COMPUTED)
    for task in range(low, high):
        own, last = span(sums, task * width, (task + 1) * width), min((task + 1) * length, dz.size)
        fill(own, 0.0)
        for top in range(task * length, last, ROWS * period):
            bottom = min(top + ROWS * period, last)
            for left in range(0, period, TILE):
                n = min(TILE, period - left)
                part, at = span(columns, 0, n), top + left
                row = (
                    span(added, left, left + n) if bias.size else span(added, 0, min(n, added.size))
                )
                if width:
                    fill(part, COMPUTED(0))
                while at < bottom:
                    rows = 4 if at + 3 * period + n <= bottom else 1
                    for k in range(at, at + rows * period, period):
                        stop = min(k + n, bottom)
                        told, made = span(y, k, stop), span(dz, k, stop)
                        if in_place:
                            differentiate_in_place(told, row, made, first, second)
                        else:
                            differentiate(span(dy, k, stop), told, row, made, first, second)
                    if width and rows == 4:
                        b, c, d = at + period, at + 2 * period, at + 3 * period
                        add_four(
                            part, span(dz, at, at + n), span(dz, b, b + n), span(dz, c, c + n),
                            span(dz, d, d + n),
                        )  # fmt: skip
                    elif width:
                        add(part, span(dz, at, min(at + n, bottom)))
                    at += rows * period
                if width:
                    for k in range(0, n, width):
                        add(span(own, left, width), span(part, k, min(k + width, n)))
    restore_denormals(before)
