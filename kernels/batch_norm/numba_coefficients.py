"""What follows from the sums, one channel at a time, in double: statistics and coefficients.

Each loop takes few arrays: all its pointers are compared for overlap before a vector loop starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..simd.loops import copy, fill, inline
from . import formula
from .numba_geometry import values_of
from .numba_loops import CENTER, OFFSET, SCALE, SHIFT, SLOPE

merged = inline(formula.merged)
deviation = inline(formula.deviation)
affine = inline(formula.affine)
averaged = inline(formula.averaged)
gradients = inline(formula.gradients)


@inline
def finish_forward(
    plan: Any, task: Any, partial: Any, gamma: Any, beta: Any, reals: Any, coefficients: Any,
    kept: Any, running_mean: Any, running_var: Any, keep_running: bool,
) -> None:  # fmt: skip
    """Statistics of a block's channels from the parts of its sums, and y's coefficients."""
    first, end, rows, parts = task.first, task.end, plan.rows, plan.parts
    eps, momentum, keep, m = reals[0], reals[1], reals[2], reals[3]
    mean, m2 = partial[0, 0, first:end], partial[1, 0, first:end]
    n, count = mean.size, np.float64(values_of(plan, 0, rows // parts))
    for part in range(1, parts):
        more = np.float64(values_of(plan, part * rows // parts, (part + 1) * rows // parts))
        means, m2s = partial[0, part, first:end], partial[1, part, first:end]
        for c in range(n):
            _, mean[c], m2[c] = merged(count, mean[c], m2[c], more, means[c], m2s[c])
        count += more
    inv_std, rest, center = np.empty(n), np.empty(n), kept[0, first:end]
    for c in range(n):
        (inv_std[c],) = deviation(m2[c] / m, eps, 1.0)
    for c in range(n):
        center[c] = mean[c]
        rest[c] = mean[c] - center[c]
    copy(rest, kept[1, first:end])
    copy(inv_std, kept[2, first:end])
    _coefficients(task, center, rest, inv_std, gamma, beta, coefficients)
    if keep_running:
        old_mean, old_var = running_mean[first:end], running_var[first:end]
        for c in range(n):
            (old_mean[c],) = averaged(old_mean[c], mean[c], keep, momentum)
        for c in range(n):
            (old_var[c],) = averaged(old_var[c], m2[c] / (m - 1.0), keep, momentum)


@inline
def finish_inference(
    task: Any, mean: Any, var: Any, gamma: Any, beta: Any, eps: Any, coefficients: Any
) -> None:
    """y's coefficients of a block's channels from running statistics."""
    center, var = mean[task.first : task.end], var[task.first : task.end]
    inv_std, rest = np.empty(var.size), np.empty(var.size)
    fill(rest, 0.0)
    for c in range(var.size):
        (inv_std[c],) = deviation(np.float64(var[c]), eps, 1.0)
    _coefficients(task, center, rest, inv_std, gamma, beta, coefficients)


@inline
def start_backward(task: Any, gamma: Any, beta: Any, kept: Any, coefficients: Any) -> None:
    """y's coefficients again, from what the forward kept."""
    own = kept[:, task.first : task.end]
    _coefficients(task, own[0], own[1], own[2], gamma, beta, coefficients)


@inline
def _coefficients(
    task: Any, center: Any, rest: Any, inv_std: Any, gamma: Any, beta: Any, coefficients: Any
) -> None:
    own = coefficients[:, task.first : task.end]
    gamma, beta = gamma[task.first : task.end], beta[task.first : task.end]
    scale, shift = own[SCALE], own[SHIFT]
    copy(center, own[CENTER])
    for c in range(center.size):
        scale[c], _ = affine(gamma[c], beta[c], rest[c], inv_std[c])
    for c in range(center.size):
        _, shift[c] = affine(gamma[c], beta[c], rest[c], inv_std[c])


@inline
def finish_backward(
    plan: Any, task: Any, sums: Any, m: Any, kept: Any, coefficients: Any, result: Any
) -> None:
    """dgamma and dbeta of a block's channels from the parts of its sums, and dx's coefficients."""
    first, end = task.first, task.end
    sum_dy, sum_product = sums[0, 0, first:end], sums[0, 1, first:end]
    for part in range(1, plan.parts):
        for c in range(first, end):
            sums[0, 0, c] += sums[part, 0, c]
            sums[0, 1, c] += sums[part, 1, c]
    rest, inv_std = kept[1, first:end], kept[2, first:end]
    dgamma, dbeta = result[0, first:end], result[1, first:end]
    slope, offset = coefficients[SLOPE, first:end], coefficients[OFFSET, first:end]
    for c in range(sum_dy.size):
        dgamma[c], _, _, _ = gradients(sum_dy[c], sum_product[c], rest[c], inv_std[c], m)
    for c in range(sum_dy.size):
        _, dbeta[c], slope[c], _ = gradients(sum_dy[c], sum_product[c], rest[c], inv_std[c], m)
    for c in range(sum_dy.size):
        _, _, _, offset[c] = gradients(sum_dy[c], sum_product[c], rest[c], inv_std[c], m)
