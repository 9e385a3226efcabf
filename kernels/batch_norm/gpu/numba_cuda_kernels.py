"""Batch normalization's CUDA kernels in Python, for Numba: cut as in numba_cuda_plan.py.

They are compiled once for each dtype, and with and without ReLU: the names in capitals, `cuda` and
the formulas are replaced then (numba_cuda.py).
"""

from __future__ import annotations

from typing import Any

from .. import formula

COMPUTED: Any = float  # what is computed in
RELU = False
merge_tree: Any = None
add_tree: Any = None
THREADS = 1  # of a block
cuda: Any = None

middle = formula.middle
welford, merged, deviation, affine = (
    formula.welford,
    formula.merged,
    formula.deviation,
    formula.affine,
)
averaged, normalized, rectified = formula.averaged, formula.normalized, formula.rectified
added = formula.added
gradients, input_gradient = formula.gradients, formula.input_gradient


def near_of(x: Any, channel: int, channels: int, inner: int) -> Any:
    """A number near a channel's mean, whatever one outlier is: the median of three values."""
    outer = x.size // (channels * inner)
    middle_one = (outer // 2 * channels + channel) * inner + inner // 2
    last = ((outer - 1) * channels + channel + 1) * inner - 1
    (near,) = middle(COMPUTED(x[channel * inner]), COMPUTED(x[middle_one]), COMPUTED(x[last]))
    return near


def merge(rows: Any, t: int, other: int) -> None:
    """Joins counts, means and sums of squared deviations, of threads that took any values."""
    if rows[0, other] > COMPUTED(0):
        rows[0, t], rows[1, t], rows[2, t] = merged(
            rows[0, t], rows[1, t], rows[2, t], rows[0, other], rows[1, other], rows[2, other]
        )


def moments(x: Any, means: Any, m2s: Any, width: int, inner: int) -> None:
    """Mean and sum of squared deviations of x - near."""
    rows = cuda.shared.array((3, THREADS), COMPUTED)
    parts, channels = means.shape
    t, part = cuda.threadIdx.x, cuda.blockIdx.y
    row, step = t // width, THREADS // width
    channel = cuda.blockIdx.x * width + t % width
    zero = COMPUTED(0)
    count, mean, m2 = zero, zero, zero
    if channel < channels:
        m = x.size // channels
        near = near_of(x, channel, channels, inner)
        for i in range(m * part // parts + row, m * (part + 1) // parts, step):
            n = i // inner
            value = COMPUTED(x[(n * channels + channel) * inner + i - n * inner])
            count += COMPUTED(1)
            mean, m2 = welford(mean, m2, count, value - near)
    rows[0, t], rows[1, t], rows[2, t] = count, mean, m2
    merge_tree(rows, width)
    if row == 0 and channel < channels:
        means[part, channel], m2s[part, channel] = rows[1, t], rows[2, t]


def finish_forward(
    x: Any, means: Any, m2s: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any,
    kept: Any, coefficients: Any, inner: int, eps: Any, momentum: Any, keep: Any,
    has_running: bool,
) -> None:  # fmt: skip
    """One thread a channel: statistics from the parts in their order, and y's coefficients."""
    parts, channels = means.shape
    c = cuda.grid(1)
    if c >= channels:
        return
    size = x.size // channels
    count, mean, m2 = COMPUTED(0), COMPUTED(0), COMPUTED(0)
    for part in range(parts):
        more = COMPUTED((part + 1) * size // parts - part * size // parts)
        count, mean, m2 = merged(count, mean, m2, more, means[part, c], m2s[part, c])
    m, near = COMPUTED(size), near_of(x, c, channels, inner)
    center = near + mean
    rest = mean - (center - near)
    (inv_std,) = deviation(m2 / m, eps, COMPUTED(1))
    scale, shift = affine(gamma[c], beta[c], rest, inv_std)
    kept[0, c], kept[1, c], kept[2, c] = center, rest, inv_std
    coefficients[0, c], coefficients[1, c], coefficients[2, c] = center, scale, shift
    if has_running:
        (running_mean[c],) = averaged(running_mean[c], center + rest, keep, momentum)
        unbiased = m2 / (m - COMPUTED(1))
        (running_var[c],) = averaged(running_var[c], unbiased, keep, momentum)


def products(
    dy: Any, x: Any, kept: Any, gamma: Any, beta: Any, sums: Any, width: int, inner: int
) -> None:
    """Sums of dy and of dy (x - center)."""
    rows = cuda.shared.array((2, THREADS), COMPUTED)
    _, parts, channels = sums.shape
    t, part = cuda.threadIdx.x, cuda.blockIdx.y
    row, step = t // width, THREADS // width
    channel = cuda.blockIdx.x * width + t % width
    zero = COMPUTED(0)
    one, two = zero, zero
    if channel < channels:
        m, center = x.size // channels, kept[0, channel]
        scale, shift = affine(gamma[channel], beta[channel], kept[1, channel], kept[2, channel])
        for i in range(m * part // parts + row, m * (part + 1) // parts, step):
            n = i // inner
            at = (n * channels + channel) * inner + i - n * inner
            value, g = COMPUTED(x[at]), COMPUTED(dy[at])
            if RELU:
                (y,) = normalized(value, center, scale, shift)
                g = zero if y <= zero else g
            one += g
            two += g * (value - center)
    rows[0, t], rows[1, t] = one, two
    add_tree(rows, width)
    if row == 0 and channel < channels:
        sums[0, part, channel], sums[1, part, channel] = rows[0, t], rows[1, t]


def products_residual(
    dy: Any, y: Any, dz: Any, x: Any, kept: Any, sums: Any, width: int, inner: int
) -> None:
    """Sums of dz, which is dy where y > 0, and of dz (x - center)."""
    rows = cuda.shared.array((2, THREADS), COMPUTED)
    _, parts, channels = sums.shape
    t, part = cuda.threadIdx.x, cuda.blockIdx.y
    row, step = t // width, THREADS // width
    channel = cuda.blockIdx.x * width + t % width
    zero = COMPUTED(0)
    one, two = zero, zero
    if channel < channels:
        m, center = x.size // channels, kept[0, channel]
        for i in range(m * part // parts + row, m * (part + 1) // parts, step):
            n = i // inner
            at = (n * channels + channel) * inner + i - n * inner
            g = zero if COMPUTED(y[at]) <= zero else COMPUTED(dy[at])
            dz[at] = g
            one += g
            two += g * (COMPUTED(x[at]) - center)
    rows[0, t], rows[1, t] = one, two
    add_tree(rows, width)
    if row == 0 and channel < channels:
        sums[0, part, channel], sums[1, part, channel] = rows[0, t], rows[1, t]


def finish_backward(
    sums: Any, gamma: Any, beta: Any, kept: Any, result: Any, coefficients: Any, m: Any
) -> None:
    """One thread a channel: dgamma, dbeta, and dx's coefficients."""
    _, parts, channels = sums.shape
    c = cuda.grid(1)
    if c >= channels:
        return
    one, two = COMPUTED(0), COMPUTED(0)
    for part in range(parts):
        one += sums[0, part, c]
        two += sums[1, part, c]
    rest, inv_std = kept[1, c], kept[2, c]
    scale, shift = affine(gamma[c], beta[c], rest, inv_std)
    coefficients[0, c], coefficients[1, c], coefficients[2, c] = kept[0, c], scale, shift
    dgamma, dbeta, slope, offset = gradients(one, two, rest, inv_std, m)
    result[0, c], result[1, c] = dgamma, dbeta
    coefficients[3, c], coefficients[4, c] = slope, offset


def normalize(x: Any, coefficients: Any, y: Any, inner: int) -> None:
    channels = coefficients.shape[1]
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        c = i // inner % channels
        (value,) = normalized(
            COMPUTED(x[i]), coefficients[0, c], coefficients[1, c], coefficients[2, c]
        )
        if RELU:
            (value,) = rectified(value, COMPUTED(0))
        y[i] = value


def normalize_residual(x: Any, residual: Any, coefficients: Any, y: Any, inner: int) -> None:
    channels = coefficients.shape[1]
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        c = i // inner % channels
        (value,) = normalized(
            COMPUTED(x[i]), coefficients[0, c], coefficients[1, c], coefficients[2, c]
        )
        (value,) = added(value, COMPUTED(residual[i]))
        if RELU:
            (value,) = rectified(value, COMPUTED(0))
        y[i] = value


def differentiate(dy: Any, x: Any, coefficients: Any, dx: Any, inner: int) -> None:
    channels, zero = coefficients.shape[1], COMPUTED(0)
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        c = i // inner % channels
        value, g = COMPUTED(x[i]), COMPUTED(dy[i])
        center, scale, shift = coefficients[0, c], coefficients[1, c], coefficients[2, c]
        if RELU:
            (y,) = normalized(value, center, scale, shift)
            g = zero if y <= zero else g
        (result,) = input_gradient(g, value, center, scale, coefficients[3, c], coefficients[4, c])
        dx[i] = result


def infer(x: Any, mean: Any, var: Any, gamma: Any, beta: Any, eps: Any, y: Any, inner: int) -> None:
    channels, zero = mean.size, COMPUTED(0)
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        c = i // inner % channels
        (inv_std,) = deviation(var[c], eps, COMPUTED(1))
        scale, shift = affine(gamma[c], beta[c], zero, inv_std)
        (value,) = normalized(COMPUTED(x[i]), mean[c], scale, shift)
        if RELU:
            (value,) = rectified(value, zero)
        y[i] = value


def infer_residual(
    x: Any, residual: Any, mean: Any, var: Any, gamma: Any, beta: Any, eps: Any, y: Any, inner: int
) -> None:
    channels, zero = mean.size, COMPUTED(0)
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        c = i // inner % channels
        (inv_std,) = deviation(var[c], eps, COMPUTED(1))
        scale, shift = affine(gamma[c], beta[c], zero, inv_std)
        (value,) = normalized(COMPUTED(x[i]), mean[c], scale, shift)
        (value,) = added(value, COMPUTED(residual[i]))
        if RELU:
            (value,) = rectified(value, zero)
        y[i] = value
