"""Softmax cross-entropy's CUDA kernels in Python, for Numba: the same sums as cuda_text.py.

They are compiled once for each plan (plan.py) and dtype: the names in capitals, `cuda` and the
formulas are replaced then (numba_cuda.py). Where there are no
weights, another array is in their place.
"""

from __future__ import annotations

import math
from typing import Any

from ...compiling import numba_reductions
from .. import formula

COMPUTED: Any = float  # what is computed in
INTEGER: Any = int
DOUBLE: Any = float
THREADS = LANES = KEPT = WARP = WARPS = 1
cuda: Any = None
add_tree: Any = None

added, shares, row_loss = formula.added, formula.shares, formula.row_loss
largest_across, sum_across = numba_reductions.largest_across, numba_reductions.sum_across


def class_of(labels: Any, row: int, width: int) -> Any:
    """The class of a row, or -1 where its label names none."""
    k = INTEGER(labels[row])
    return k if 0 <= k < width else INTEGER(-1)


def write_loss(loss: Any, losses: Any) -> None:
    """The losses of all rows that a block took."""
    parts = cuda.shared.array(WARPS, COMPUTED)
    t = cuda.threadIdx.x
    loss = sum_across(loss, WARP)
    if t % WARP == 0:
        parts[t // WARP] = loss
    cuda.syncthreads()
    if t == 0:
        for i in range(1, WARPS):
            loss += parts[i]
        losses[cuda.blockIdx.x] = loss


def softmax_lanes(
    logits: Any, labels: Any, weights: Any, weighted: bool, gradient: Any, losses: Any
) -> None:
    """A few lanes of a warp take a row, whose values they keep."""
    rows, width = logits.shape
    values = cuda.local.array(KEPT, COMPUTED)
    lowest, unknown = COMPUTED(-math.inf), COMPUTED(math.nan)
    lane, loss = cuda.threadIdx.x % LANES, COMPUTED(0)
    first = INTEGER(cuda.blockIdx.x) * (THREADS // LANES)
    while first < rows:
        row = first + cuda.threadIdx.x // LANES
        there = row < rows  # all threads of a warp take part in what follows
        left = width - lane if there else 0
        z, result = logits[row if there else 0], gradient[row if there else 0]
        top, total, lost = lowest, COMPUTED(0), COMPUTED(0)
        for i in range(KEPT):
            values[i] = COMPUTED(z[lane + i * LANES]) if i * LANES < left else lowest
            top = max(top, values[i])
        k = class_of(labels, row, width) if there else INTEGER(0)
        mine = there and max(k, INTEGER(0)) % LANES == lane
        below = COMPUTED(z[k]) if mine and k >= 0 else unknown
        top = largest_across(top, LANES)
        for i in range(KEPT):
            values[i] = COMPUTED(math.exp(values[i] - top))
            total, lost = added(total, lost, values[i])
        total = sum_across(total, LANES)
        weight = COMPUTED(1)
        if weighted and there:
            weight = weights[row]
        share, factor = shares(weight, total if k >= 0 else unknown, COMPUTED(rows))
        if mine:
            (of_row,) = row_loss(weight, COMPUTED(math.log(total)), below - top)
            loss += of_row
        for i in range(KEPT):
            p = values[i] * factor
            if i * LANES < left:
                result[lane + i * LANES] = p - share if i * LANES == k - lane else p
        first += INTEGER(cuda.gridDim.x) * (THREADS // LANES)
    write_loss(loss, losses)


def softmax_block(
    logits: Any, labels: Any, weights: Any, weighted: bool, gradient: Any, losses: Any
) -> None:
    """A block takes a row, and reads again what its threads don't keep."""
    tops = cuda.shared.array(WARPS, COMPUTED)
    sums = cuda.shared.array(WARPS, COMPUTED)  # apart, so that one barrier each is enough
    rows, width = logits.shape
    values = cuda.local.array(KEPT, COMPUTED)
    lowest, unknown = COMPUTED(-math.inf), COMPUTED(math.nan)
    t, loss = cuda.threadIdx.x, COMPUTED(0)
    left, rest = width - t, KEPT * THREADS
    for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
        z, result = logits[row], gradient[row]
        top, total, lost = lowest, COMPUTED(0), COMPUTED(0)
        for i in range(KEPT):
            values[i] = COMPUTED(z[t + i * THREADS]) if i * THREADS < left else lowest
            top = max(top, values[i])
        for i in range(rest, left, THREADS):
            top = max(top, COMPUTED(z[t + i]))
        k = class_of(labels, row, width)
        mine = max(k, INTEGER(0)) % THREADS == t
        below = COMPUTED(z[k]) if mine and k >= 0 else unknown
        top = largest_across(top, WARP)
        if t % WARP == 0:
            tops[t // WARP] = top
        cuda.syncthreads()
        for i in range(WARPS):
            top = max(top, tops[i])
        for i in range(KEPT):
            values[i] = COMPUTED(math.exp(values[i] - top))
            total, lost = added(total, lost, values[i])
        for i in range(rest, left, THREADS):
            value = COMPUTED(math.exp(COMPUTED(z[t + i]) - top))
            total, lost = added(total, lost, value)
        total = sum_across(total, WARP)
        if t % WARP == 0:
            sums[t // WARP] = total
        cuda.syncthreads()
        total = sums[0]
        for i in range(1, WARPS):
            total += sums[i]
        weight = COMPUTED(1)
        if weighted:
            weight = weights[row]
        share, factor = shares(weight, total if k >= 0 else unknown, COMPUTED(rows))
        if mine:
            (of_row,) = row_loss(weight, COMPUTED(math.log(total)), below - top)
            loss += of_row
        for i in range(KEPT):
            p = values[i] * factor
            if i * THREADS < left:
                result[t + i * THREADS] = p - share if i * THREADS == k - t else p
        for i in range(rest, left, THREADS):
            p = COMPUTED(math.exp(COMPUTED(z[t + i]) - top)) * factor
            result[t + i] = p - share if i == k - t else p
    write_loss(loss, losses)


def softmax_mean(losses: Any, mean: Any, rows: float) -> None:
    """One block. The loss is float64 whatever the arrays are."""
    sums = cuda.shared.array((1, THREADS), DOUBLE)
    t, total = cuda.threadIdx.x, DOUBLE(0)
    for i in range(t, losses.size, THREADS):
        total += losses[i]
    sums[0, t] = total
    add_tree(sums, 1)
    if t == 0:
        mean[0] = sums[0, 0] / rows
