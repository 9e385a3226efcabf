"""The sums of batch normalization on the CPU, over one task each.

The sums of a task are of x - c over a few thousand values, in the arrays' own precision, c being
the mean of all the values before, and at the start of some of them; such sums are merged in double.
So cancellation costs a few eps of the variance: where c is far off for some values, that is itself
a part of the variance. Values whose squares overflow float32 are summed again in double.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...simd.half import load
from ...simd.loops import fill, part
from ...simd.memory import span
from .. import formula
from .numba_beside import passed
from .numba_geometry import gather, run_of, spread, values_of, vector
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
from .plan import PIECE

FEW_ROWS, FEW = 4, 64  # rows, and values of a plane in each, that the first mean is guessed from
ROWS = 128  # rows of columns that are summed before double takes over

merged = part(formula.merged)


@part
def moments(
    plan: Any, task: Any, x: Any, zero: Any, center: Any, numbers: Any, per: Any, sums: Any
) -> None:
    """Mean and sum of squared deviations of each channel of a task, into two rows of `sums`.

    `center` is room for one number a channel, `numbers` for two doubles, `per` for columns.
    """
    n, count = task.end - task.first, 0.0
    mean, m2 = vector(sums, 2 * task.part, plan, task), vector(sums, 2 * task.part + 1, plan, task)
    center, one, two = span(center, 0, n), span(numbers, 0, n), span(numbers, n, 2 * n)
    _guess(plan, task, x, zero, center, one, two, per)
    fill(mean, 0.0)
    fill(m2, 0.0)
    step = max(1, PIECE // plan.inner) if plan.planes else ROWS
    for low in range(task.low, task.high, step):
        high = min(low + step, task.high)
        _sums(plan, task, low, high, x, zero, center, per, one, two)
        for c in range(n):
            if two[c] - two[c] != 0.0:  # inf or NaN
                wide = np.float64(center[c])
                one[c], two[c] = _wide_sums(plan, task.first + c, low, high, x, wide)
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


@part
def _guess(
    plan: Any, task: Any, x: Any, zero: Any, center: Any, one: Any, two: Any, per: Any
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
        _sums(plan, task, task.low, high, x, zero, center, per, one, two)
        values = values_of(plan, task.low, high)
        for c in range(center.size):
            one[c] /= values
    for c in range(center.size):
        center[c] = one[c] if one[c] - one[c] == 0.0 else zero


@part
def _sums(
    plan: Any, task: Any, low: Any, high: Any, x: Any, zero: Any, center: Any, per: Any, one: Any,
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
                    a, b = plane_moments(span(x, k, min(k + PIECE, end)), center[c], zero)
                    one[c] += a
                    two[c] += b
        return
    start, end = run_of(plan, low, task.first, task.end)
    width, length, total = end - start, plan.length, plan.total
    spread(center, plan.inner, columns_of(per, CENTER, width))
    fill(columns_of(per, FIRST, width), zero)
    fill(columns_of(per, SECOND, width), zero)
    row = low
    while row < high:
        start, end = run_of(plan, row, task.first, task.end)
        if row + 4 <= high and (row + 4) * length <= total:
            b, c, d = start + length, start + 2 * length, start + 3 * length
            column_moments_4(
                span(x, start, end), span(x, b, b + width), span(x, c, c + width),
                span(x, d, d + width), per,
            )  # fmt: skip
            row += 4
        else:
            column_moments(span(x, start, end), per)
            row += 1
    gather(columns_of(per, FIRST, width), plan.inner, one)
    gather(columns_of(per, SECOND, width), plan.inner, two)


@part
def _wide_sums(plan: Any, channel: Any, low: Any, high: Any, x: Any, center: Any) -> Any:
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


@part
def products(
    plan: Any, task: Any, dy: Any, y: Any, dz: Any, x: Any, coefficients: Any, zero: Any,
    relu: bool, numbers: Any, per: Any, sums: Any,
) -> None:  # fmt: skip
    """Sums of dy and of dy (x - center) of each channel of a task, into two rows of `sums`.

    Where y and dz are not None dy passes that gate first, into dz. `numbers` is room for two
    doubles a channel, `per` for columns.
    """
    n, channels = task.end - task.first, plan.channels
    first = vector(sums, 2 * task.part, plan, task)
    second = vector(sums, 2 * task.part + 1, plan, task)
    fill(first, 0.0)
    fill(second, 0.0)
    if plan.planes:
        for row in range(task.low, task.high):
            for c in range(task.first, task.end):
                start, end = run_of(plan, row, c, c + 1)
                of = (
                    coefficients[CENTER * channels + c],
                    coefficients[SCALE * channels + c],
                    coefficients[SHIFT * channels + c],
                )
                for k in range(start, end, PIECE):
                    stop = min(k + PIECE, end)
                    g = passed(dy, y, dz, k, stop, zero)
                    a, b = plane_products(g, span(x, k, stop), of, zero, relu)
                    first[c - task.first] += a
                    second[c - task.first] += b
        return
    start, end = run_of(plan, task.low, task.first, task.end)
    width, length, total = end - start, plan.length, plan.total
    for role in (CENTER, SCALE, SHIFT):
        spread(vector(coefficients, role, plan, task), plan.inner, columns_of(per, role, width))
    chunk = span(numbers, 0, n)
    for low in range(task.low, task.high, ROWS):
        high = min(low + ROWS, task.high)
        fill(columns_of(per, FIRST, width), zero)
        fill(columns_of(per, SECOND, width), zero)
        row = low
        while row < high:
            start, end = run_of(plan, row, task.first, task.end)
            if row + 2 <= high and (row + 2) * length <= total:
                b = start + length
                column_products_2(
                    passed(dy, y, dz, start, end, zero), span(x, start, end),
                    passed(dy, y, dz, b, b + width, zero), span(x, b, b + width), per, zero, relu,
                )  # fmt: skip
                row += 2
            else:
                g = passed(dy, y, dz, start, end, zero)
                column_products(g, span(x, start, end), per, zero, relu)
                row += 1
        for role, own in ((FIRST, first), (SECOND, second)):
            gather(columns_of(per, role, width), plan.inner, chunk)
            for c in range(n):
                own[c] += chunk[c]
