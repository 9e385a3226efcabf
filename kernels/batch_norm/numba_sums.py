"""The sums of batch normalization on the CPU, over one task each.

The sums of a task are of x - c over a few thousand values, in the arrays' own precision, c being
the mean of all the values before, and at the start of some of them; such sums are merged in double.
So cancellation costs a few eps of the variance: where c is far off for some values, that is itself
a part of the variance. Values whose squares overflow float32 are summed again in double.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..simd.half import load
from ..simd.loops import fill, inline
from . import formula
from .cpu_plan import PIECE
from .numba_geometry import gather, run_of, spread, values_of
from .numba_loops import (
    CENTER,
    FIRST,
    SCALE,
    SECOND,
    SHIFT,
    column_moments,
    column_moments_4,
    column_products,
    column_products_2,
    columns_of,
    plane_moments,
    plane_products,
)

FEW_ROWS, FEW = 4, 64  # rows, and values of a plane in each, that the first mean is guessed from
ROWS = 128  # rows of columns that are summed before double takes over

merged = inline(formula.merged)


@inline
def moments(
    x: Any, plan: Any, task: Any, zero: Any, center: Any, per: Any, mean: Any, m2: Any
) -> None:
    """Mean and sum of squared deviations of each channel of a task, into `mean` and `m2`.

    `center` is room for one number a channel, `per` for what columns need.
    """
    n = center.size
    one, two, count = np.empty(n), np.empty(n), 0.0
    _guess(x, plan, task, zero, center, per, one, two)
    fill(mean, 0.0)
    fill(m2, 0.0)
    step = max(1, PIECE // plan.inner) if plan.planes else ROWS
    for low in range(task.low, task.high, step):
        high = min(low + step, task.high)
        _sums(x, plan, task, low, high, zero, center, per, one, two)
        for c in range(n):
            if two[c] - two[c] != 0.0:  # inf or NaN
                wide = np.float64(center[c])
                one[c], two[c] = _wide_sums(x, plan, task.first + c, low, high, wide)
        values = np.float64(values_of(plan, low, high))
        for c in range(n):  # loops of few arrays, so that they are vectorized
            shift = one[c] / values
            square = two[c] - one[c] * shift
            two[c] = 0.0 if square < 0.0 else square
            one[c] = center[c] + shift
        for c in range(n):
            _, mean[c], m2[c] = merged(count, mean[c], m2[c], values, one[c], two[c])
        for c in range(n):
            center[c] = mean[c]
        count += values


@inline
def _guess(
    x: Any, plan: Any, task: Any, zero: Any, center: Any, per: Any, one: Any, two: Any
) -> None:
    """A first guess at the mean: that of some values of each channel's first rows."""
    high = min(task.low + FEW_ROWS, task.high)
    if plan.planes:
        for c in range(center.size):
            total, count = 0.0, 0
            for row in range(task.low, high):
                start, end = run_of(plan, row, task.first + c, task.first + c + 1)
                for i in range(start, end, max(1, (end - start) // FEW)):
                    total += load(x, i)
                    count += 1
            one[c] = total / count
    else:
        fill(center, zero)
        _sums(x, plan, task, task.low, high, zero, center, per, one, two)
        values = values_of(plan, task.low, high)
        for c in range(center.size):
            one[c] /= values
    for c in range(center.size):
        center[c] = one[c] if one[c] - one[c] == 0.0 else zero


@inline
def _sums(
    x: Any, plan: Any, task: Any, low: Any, high: Any, zero: Any, center: Any, per: Any, one: Any,
    two: Any,
) -> None:  # fmt: skip
    """Sums of x - center and of its square over rows low to high."""
    if plan.planes:
        fill(one, 0.0)
        fill(two, 0.0)
        for row in range(low, high):
            for c in range(center.size):
                start, end = run_of(plan, row, task.first + c, task.first + c + 1)
                for k in range(start, end, PIECE):
                    a, b = plane_moments(x[k : min(k + PIECE, end)], center[c], zero)
                    one[c] += a
                    two[c] += b
        return
    start, end = run_of(plan, low, task.first, task.end)
    width, length = end - start, plan.length
    spread(center, plan.inner, columns_of(per, CENTER, width))
    fill(columns_of(per, FIRST, width), zero)
    fill(columns_of(per, SECOND, width), zero)
    row = low
    while row < high:
        start, end = run_of(plan, row, task.first, task.end)
        if row + 4 <= high and (row + 4) * length <= plan.total:
            b, c, d = start + length, start + 2 * length, start + 3 * length
            column_moments_4(
                x[start:end], x[b : b + width], x[c : c + width], x[d : d + width], per
            )
            row += 4
        else:
            column_moments(x[start:end], per)
            row += 1
    gather(columns_of(per, FIRST, width), plan.inner, one)
    gather(columns_of(per, SECOND, width), plan.inner, two)


@inline
def _wide_sums(x: Any, plan: Any, channel: Any, low: Any, high: Any, center: Any) -> Any:
    """The same of one channel, all in double."""
    one = two = 0.0
    period = plan.channels * plan.inner
    for start in range(low * plan.length, min(high * plan.length, plan.total), period):
        first = start + channel * plan.inner
        for i in range(first, min(first + plan.inner, plan.total)):
            d = np.float64(load(x, i)) - center
            one += d
            two += d * d
    return one, two


@inline
def products(
    dy: Any, x: Any, plan: Any, task: Any, coefficients: Any, zero: Any, relu: bool, per: Any,
    sums: Any,
) -> None:  # fmt: skip
    """Sums of dy and of dy (x - center) of each channel of a task, into `sums`."""
    fill(sums[0], 0.0)
    fill(sums[1], 0.0)
    if plan.planes:
        for row in range(task.low, task.high):
            for c in range(task.first, task.end):
                start, end = run_of(plan, row, c, c + 1)
                of = (coefficients[CENTER, c], coefficients[SCALE, c], coefficients[SHIFT, c])
                for k in range(start, end, PIECE):
                    stop = min(k + PIECE, end)
                    a, b = plane_products(dy[k:stop], x[k:stop], of, zero, relu)
                    sums[0, c - task.first] += a
                    sums[1, c - task.first] += b
        return
    start, end = run_of(plan, task.low, task.first, task.end)
    width, length = end - start, plan.length
    for role in (CENTER, SCALE, SHIFT):
        vector = coefficients[role, task.first : task.end]
        spread(vector, plan.inner, columns_of(per, role, width))
    chunk = np.empty(task.end - task.first)
    for low in range(task.low, task.high, ROWS):
        high = min(low + ROWS, task.high)
        fill(columns_of(per, FIRST, width), zero)
        fill(columns_of(per, SECOND, width), zero)
        row = low
        while row < high:
            start, end = run_of(plan, row, task.first, task.end)
            if row + 2 <= high and (row + 2) * length <= plan.total:
                b = start + length
                column_products_2(
                    dy[start:end], x[start:end], dy[b : b + width], x[b : b + width], per, zero,
                    relu,
                )  # fmt: skip
                row += 2
            else:
                column_products(dy[start:end], x[start:end], per, zero, relu)
                row += 1
        for k, role in enumerate((FIRST, SECOND)):
            gather(columns_of(per, role, width), plan.inner, chunk)
            for c in range(chunk.size):
                sums[k, c] += chunk[c]
