"""Batch normalization in float64, written from Ioffe and Szegedy (2015), independent of onepass.

Every function sees an array as one row for each channel, (C, m), and puts the result back into the
array's shape. The gradients follow the chain rule of section 3 line by line, unsimplified.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rows(array: Any, channel_axis: int) -> Array:
    """A copy in float64 of shape (C, m): row c holds the m values of channel c."""
    moved = np.moveaxis(np.asarray(array), channel_axis, 0)
    channels, others = moved.shape[0], moved.shape[1:]
    return np.array(moved, dtype=np.float64, order="C").reshape(channels, int(np.prod(others)))


def from_rows(values: Array, shape: tuple[int, ...], channel_axis: int) -> Array:
    """The inverse of `rows`: an array of `shape`."""
    others = list(shape)
    channels = others.pop(channel_axis)
    return np.moveaxis(values.reshape(channels, *others), 0, channel_axis)


def column(parameter: Any, channels: int, default: float) -> Array:
    """A parameter as (C, 1); None is `default` throughout."""
    if parameter is None:
        return np.full((channels, 1), default)
    return np.array(parameter, dtype=np.float64).reshape(channels, 1)


class Batch(NamedTuple):
    """What training's forward pass computes; mean, var and inv_std have shape (C,)."""

    y: Array
    z: Array  # y before the activation
    mean: Array
    var: Array  # biased, as it normalizes
    inv_std: Array


class Gradients(NamedTuple):
    dx: Array
    dgamma: Array
    dbeta: Array


def activated(z: Array, activation: str | None) -> Array:
    """max(z, 0) for "relu"; NaN stays NaN."""
    return np.where(z <= 0, 0.0, z) if activation == "relu" else z


def forward(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
    activation: str | None = None,
    residual: Any = None,
) -> Batch:
    """Algorithm 1: mean, biased variance, normalize, scale and shift; then, as He et al. (2016)
    have it in a block, the residual is added; then the activation."""
    values = rows(x, channel_axis)
    channels, m = values.shape
    mean = values.sum(axis=1, keepdims=True) / m
    var = ((values - mean) ** 2).sum(axis=1, keepdims=True) / m
    xhat = (values - mean) / np.sqrt(var + eps)
    z = from_rows(
        column(gamma, channels, 1.0) * xhat + column(beta, channels, 0.0), x.shape, channel_axis
    )
    if residual is not None:
        z = z + np.float64(residual)
    inv_std = 1.0 / np.sqrt(var + eps)
    return Batch(activated(z, activation), z, mean[:, 0], var[:, 0], inv_std[:, 0])


def running_statistics(
    mean: Any, var: Any, batch: Batch, m: int, momentum: float = 0.1
) -> tuple[Array, Array]:
    """Algorithm 2, line 10, as a moving average: the new batch has the weight `momentum`.

    Var[x] is the unbiased m / (m - 1) times the batch's variance.
    """
    old_mean, old_var = np.float64(mean), np.float64(var)
    unbiased = batch.var * m / (m - 1)
    return (
        (1 - momentum) * old_mean + momentum * batch.mean,
        (1 - momentum) * old_var + momentum * unbiased,
    )


def inference(
    x: Any,
    gamma: Any,
    beta: Any,
    running_mean: Any,
    running_var: Any,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
    activation: str | None = None,
    residual: Any = None,
) -> Array:
    """Algorithm 2, line 11: the running statistics in place of the batch's; a residual as above."""
    values = rows(x, channel_axis)
    channels = values.shape[0]
    scale = column(gamma, channels, 1.0) / np.sqrt(column(running_var, channels, 1.0) + eps)
    z = scale * values + (column(beta, channels, 0.0) - scale * column(running_mean, channels, 0.0))
    z = from_rows(z, x.shape, channel_axis)
    return activated(z if residual is None else z + np.float64(residual), activation)


def backward(
    dy: Any,
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
    activation: str | None = None,
    residual: Any = None,
) -> Gradients:
    """Section 3, the six equations in their order; dy counts as 0 where the relu gave 0."""
    batch = forward(x, gamma, beta, eps=eps, channel_axis=channel_axis, residual=residual)
    dz = residual_gradient(dy, batch.z, activation)
    values, dz = rows(x, channel_axis), rows(dz, channel_axis)
    channels, m = values.shape
    mean, var = batch.mean[:, None], batch.var[:, None]
    centered, root = values - mean, np.sqrt(var + eps)

    dxhat = dz * column(gamma, channels, 1.0)
    dvar = (dxhat * centered).sum(axis=1, keepdims=True) * -0.5 * root**-3
    dmean = -(dxhat / root).sum(axis=1, keepdims=True)
    dmean += dvar * (-2.0 * centered).sum(axis=1, keepdims=True) / m
    dx = dxhat / root + dvar * 2.0 * centered / m + dmean / m
    dgamma = (dz * centered / root).sum(axis=1)
    return Gradients(from_rows(dx, x.shape, channel_axis), dgamma, dz.sum(axis=1))


def residual_gradient(dy: Any, z: Array, activation: str | None) -> Array:
    """z = normalized x + residual: the residual's gradient is that of z itself."""
    return np.where(z <= 0, 0.0, np.float64(dy)) if activation == "relu" else np.float64(dy)


class Terms(NamedTuple):
    """How large the terms are that each result is added up from: its rounding errors' unit."""

    y: Array
    mean: Array
    dx: Array
    dgamma: Array
    dbeta: Array


def terms(
    x: Any,
    dy: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
    residual: Any = None,
    **_: Any,
) -> Terms:
    """Sizes of the terms: the mean is exact to eps of mean |x|, and xhat to that over the root."""
    batch = forward(x, eps=eps, channel_axis=channel_axis)
    values, slope = np.abs(rows(x, channel_axis)), np.abs(rows(dy, channel_axis))
    channels = values.shape[0]
    mean = values.mean(axis=1, keepdims=True)
    xhat = np.abs(rows(batch.z, channel_axis)) + mean * batch.inv_std[:, None]
    scale = np.abs(column(gamma, channels, 1.0))
    y = scale * xhat + np.abs(column(beta, channels, 0.0))
    pull = slope.mean(axis=1, keepdims=True) + xhat * (slope * xhat).mean(axis=1, keepdims=True)
    dx = scale * batch.inv_std[:, None] * (slope + pull)
    y = from_rows(y, x.shape, channel_axis)
    return Terms(
        y if residual is None else y + np.abs(np.float64(residual)),
        mean[:, 0],
        from_rows(dx, x.shape, channel_axis),
        (slope * xhat).sum(axis=1),
        slope.sum(axis=1),
    )
