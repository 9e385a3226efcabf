"""What follows from the sums, one channel at a time, in double: statistics and coefficients.

Each loop takes few arrays: all its pointers are compared for overlap before a vector loop starts.
`numbers` is room for two doubles a channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...simd.loops import copy, fill, part
from ...simd.memory import span
from .. import formula
from .numba_geometry import values_of, vector
from .numba_loops import CENTER, OFFSET, SCALE, SHIFT, SLOPE

merged = part(formula.merged)
deviation = part(formula.deviation)
affine = part(formula.affine)
averaged = part(formula.averaged)
gradients = part(formula.gradients)


@part
def finish_forward(
    job: Any, plan: Any, task: Any, gamma: Any, beta: Any, sums: Any, numbers: Any, kept: Any,
    coefficients: Any, running_mean: Any, running_var: Any,
) -> None:  # fmt: skip
    """Statistics of a block's channels from the parts of its sums, and y's coefficients."""
    rows, parts, n = plan.rows, plan.parts, task.end - task.first
    mean, m2 = vector(sums, 0, plan, task), vector(sums, 1, plan, task)
    count = np.float64(values_of(plan, 0, rows // parts))
    for k in range(1, parts):
        more = np.float64(values_of(plan, k * rows // parts, (k + 1) * rows // parts))
        means, m2s = vector(sums, 2 * k, plan, task), vector(sums, 2 * k + 1, plan, task)
        for c in range(n):
            _, mean[c], m2[c] = merged(count, mean[c], m2[c], more, means[c], m2s[c])
        count += more
    inv_std, rest, center = (
        span(numbers, 0, n),
        span(numbers, n, 2 * n),
        vector(kept, 0, plan, task),
    )
    m, eps = job.m, job.eps
    for c in range(n):
        (inv_std[c],) = deviation(m2[c] / m, eps, 1.0)
    for c in range(n):
        center[c] = mean[c]
        rest[c] = mean[c] - center[c]
    copy(rest, vector(kept, 1, plan, task))
    copy(inv_std, vector(kept, 2, plan, task))
    _coefficients(plan, task, center, rest, inv_std, gamma, beta, coefficients)
    if job.averages:
        old_mean, old_var = vector(running_mean, 0, plan, task), vector(running_var, 0, plan, task)
        keep, momentum = job.rest, job.momentum
        for c in range(n):
            (old_mean[c],) = averaged(old_mean[c], mean[c], keep, momentum)
        for c in range(n):
            (old_var[c],) = averaged(old_var[c], m2[c] / (m - 1.0), keep, momentum)


@part
def finish_inference(
    job: Any, plan: Any, task: Any, gamma: Any, beta: Any, mean: Any, var: Any, numbers: Any,
    coefficients: Any,
) -> None:  # fmt: skip
    """y's coefficients of a block's channels from running statistics."""
    n, eps = task.end - task.first, job.eps
    center, own = vector(mean, 0, plan, task), vector(var, 0, plan, task)
    inv_std, rest = span(numbers, 0, n), span(numbers, n, 2 * n)
    fill(rest, 0.0)
    for c in range(n):
        (inv_std[c],) = deviation(np.float64(own[c]), eps, 1.0)
    _coefficients(plan, task, center, rest, inv_std, gamma, beta, coefficients)


@part
def start_backward(
    plan: Any, task: Any, gamma: Any, beta: Any, kept: Any, coefficients: Any
) -> None:
    """y's coefficients again, from what the forward kept."""
    center, rest = vector(kept, 0, plan, task), vector(kept, 1, plan, task)
    inv_std = vector(kept, 2, plan, task)
    _coefficients(plan, task, center, rest, inv_std, gamma, beta, coefficients)


@part
def _coefficients(
    plan: Any, task: Any, center: Any, rest: Any, inv_std: Any, gamma: Any, beta: Any,
    coefficients: Any,
) -> None:  # fmt: skip
    scale, shift = vector(coefficients, SCALE, plan, task), vector(coefficients, SHIFT, plan, task)
    gamma, beta = vector(gamma, 0, plan, task), vector(beta, 0, plan, task)
    copy(center, vector(coefficients, CENTER, plan, task))
    for c in range(center.size):
        scale[c], _ = affine(gamma[c], beta[c], rest[c], inv_std[c])
    for c in range(center.size):
        _, shift[c] = affine(gamma[c], beta[c], rest[c], inv_std[c])


@part
def finish_backward(
    job: Any, plan: Any, task: Any, sums: Any, kept: Any, coefficients: Any, result: Any
) -> None:
    """dgamma and dbeta of a block's channels from the parts of its sums, and dx's coefficients."""
    n, m = task.end - task.first, job.m
    sum_dy, sum_product = vector(sums, 0, plan, task), vector(sums, 1, plan, task)
    for k in range(1, plan.parts):
        more_dy, more = vector(sums, 2 * k, plan, task), vector(sums, 2 * k + 1, plan, task)
        for c in range(n):
            sum_dy[c] += more_dy[c]
            sum_product[c] += more[c]
    rest, inv_std = vector(kept, 1, plan, task), vector(kept, 2, plan, task)
    dgamma, dbeta = vector(result, 0, plan, task), vector(result, 1, plan, task)
    slope, offset = (
        vector(coefficients, SLOPE, plan, task),
        vector(coefficients, OFFSET, plan, task),
    )
    for c in range(n):
        dgamma[c], _, _, _ = gradients(sum_dy[c], sum_product[c], rest[c], inv_std[c], m)
    for c in range(n):
        _, dbeta[c], slope[c], _ = gradients(sum_dy[c], sum_product[c], rest[c], inv_std[c], m)
    for c in range(n):
        _, _, _, offset[c] = gradients(sum_dy[c], sum_product[c], rest[c], inv_std[c], m)
