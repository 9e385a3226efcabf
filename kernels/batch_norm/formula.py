"""Batch normalization's arithmetic for one element or one channel, written once for every engine.

The Numba engines compile these functions, the CuPy engine translates them to C (by c_text.py), so
they hold what that can: assignments, `+ - * /`, `sqrt`, `maximum`, one return of a tuple, and no
numeric literal, which would promote float32.

A mean is kept as `center + rest`, `center` being the nearest number of the arrays' own precision:
x - center is exact where x is near the mean, so nothing is lost at a mean of 1e4 and a deviation
of 1, and x - mean costs no more than one subtraction and one fused multiply-add.
"""

from __future__ import annotations

from numpy import maximum, sqrt


def middle(a, b, c):
    """The median of three values, which one outlier leaves near the others."""
    low = -maximum(-a, -b)
    high = maximum(a, b)
    near = maximum(low, -maximum(-high, -c))
    return (near,)


def welford(mean, m2, count, x):
    """One more value, the `count`-th: Welford (1962)."""
    delta = x - mean
    mean = mean + delta / count
    m2 = m2 + delta * (x - mean)
    return mean, m2


def merged(count, mean, m2, count_b, mean_b, m2_b):
    """Two sets of values together, the second not empty: Chan, Golub and LeVeque (1979)."""
    total = count + count_b
    share = count_b / total
    delta = mean_b - mean
    mean = mean + delta * share
    m2 = m2 + (m2_b + delta * delta * (count * share))
    count = total
    return count, mean, m2


def of_sums(total, squares, count, zero):
    """Mean and sum of squared deviations of values that are near zero, from sums of them and of
    their squares; for any number of values a division each."""
    mean = total / count
    m2 = maximum(squares - total * mean, zero)
    return mean, m2


def about(m2, mean, count, center):
    """The sum of squared deviations of `count` values from another center than their mean.

    With it sets of values are put together in additions alone: their sums of squared deviations
    from the mean of all are just added up.
    """
    delta = mean - center
    m2 = m2 + count * (delta * delta)
    return (m2,)


def deviation(var, eps, one):
    """1 / sqrt(sigma^2 + eps)."""
    inv_std = one / sqrt(var + eps)
    return (inv_std,)


def affine(gamma, beta, rest, inv_std):
    """gamma xhat + beta as (x - center) scale + shift."""
    scale = gamma * inv_std
    shift = beta - rest * scale
    return scale, shift


def averaged(running, latest, keep, momentum):
    """The running statistic after a batch: keep is 1 - momentum."""
    running = keep * running + momentum * latest
    return (running,)


def normalized(x, center, scale, shift):
    """y of one element."""
    y = (x - center) * scale + shift
    return (y,)


def added(y, residual):
    """y and a residual, before any ReLU."""
    y = y + residual
    return (y,)


def rectified(y, zero):
    """ReLU; NaN stays NaN."""
    y = maximum(y, zero)
    return (y,)


def gradients(sum_dy, sum_product, rest, inv_std, m):
    """dgamma = sum dy xhat and dbeta = sum dy, from the sums of dy and dy (x - center).

    With them, slope and offset of dx = scale ((dy - offset) - (x - center) slope), which is
    gamma inv_std / m (m dy - dbeta - xhat dgamma).
    """
    dbeta = sum_dy
    dgamma = (sum_product - rest * sum_dy) * inv_std
    slope = dgamma / m * inv_std
    offset = dbeta / m - rest * slope
    return dgamma, dbeta, slope, offset


def input_gradient(dy, x, center, scale, slope, offset):
    """dx of one element."""
    dx = scale * ((dy - offset) - (x - center) * slope)
    return (dx,)
