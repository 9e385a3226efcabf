"""Engine "array": batch normalization as the paper prints it, in NumPy or CuPy expressions.

It is the readable reference and the pure-array path that the fused engines are measured against.
"""

from __future__ import annotations

import numpy as np

from ...backend import Array, backend_of
from ..compiling.dtypes import compute_dtype
from ..order import write_all
from .contract import NOWHERE, BatchNormEngine, Gate, How, Places, Running
from .formula import gradients
from .layout import Layout


class ArrayBatchNorm(BatchNormEngine):
    """Takes any layout. All results are worked out before the first write."""

    name, strided = "array", True

    def forward(
        self, x: Array, y: Array, how: How, running: Running | None, residual: Array | None = None
    ) -> Array:
        layout, gamma, beta, eps, relu = how
        dtype = compute_dtype(x.dtype)
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            center, rest, mu, deviation, square = _moments(x, layout)
            var = square.mean(axis=layout.others, keepdims=True)
            inv_std = (1.0 / (var + eps) ** 0.5).astype(dtype)
            result = _scaled(deviation * inv_std, layout, gamma, beta, relu, residual)
            averages = []
            if running is not None:
                unbiased = var.reshape(-1) * (layout.count / (layout.count - 1))
                for old, new in ((running.mean, mu.reshape(-1)), (running.var, unbiased)):
                    average = (1.0 - running.momentum) * old + running.momentum * new
                    averages.append((old, average.astype(dtype, copy=False)))
            kept = backend_of(x).xp.stack([part.reshape(-1) for part in (center, rest, inv_std)])
            y[...] = result
            for old, average in averages:
                old[...] = average
        return kept

    def backward(
        self,
        dy: Array,
        x: Array,
        dx: Array,
        how: How,
        kept: Array,
        places: Places = NOWHERE,
        gate: Gate | None = None,
    ) -> tuple[Array, Array]:
        layout, dtype = how.layout, compute_dtype(dy.dtype)
        with np.errstate(all="ignore"):
            dy, xhat = _gated(dy, x, how, kept, gate)
            dgamma = (dy * xhat).sum(axis=layout.others, dtype="float64").astype(dtype)
            dbeta = dy.sum(axis=layout.others, dtype="float64").astype(dtype)
            result = _input_gradient(dy, xhat, how, kept, (dgamma, dbeta), layout.count)
            write_all([(dx, result)] if gate is None else [(gate.dz, dy), (dx, result)])
        return dgamma, dbeta

    def inference(
        self,
        x: Array,
        y: Array,
        how: How,
        mean: Array,
        var: Array,
        residual: Array | None = None,
    ) -> None:
        layout, gamma, beta, eps, relu = how
        with np.errstate(all="ignore"):
            inv_std = (1.0 / (var.astype("float64") + eps) ** 0.5).astype(var.dtype)
            xhat = (x - layout.along(mean)) * layout.along(inv_std)
            y[...] = _scaled(xhat, layout, gamma, beta, relu, residual)

    def moments(self, x: Array, layout: Layout) -> Array:
        with np.errstate(all="ignore"):
            _, _, mu, _, square = _moments(x, layout)
            m2 = square.sum(axis=layout.others)
            return backend_of(x).xp.stack([mu.reshape(-1), m2])

    def products(
        self, dy: Array, x: Array, how: How, kept: Array, gate: Gate | None = None
    ) -> Array:
        layout, dtype = how.layout, compute_dtype(dy.dtype)
        with np.errstate(all="ignore"):
            dy, _ = _gated(dy, x, how, kept, gate)
            if gate is not None:
                gate.dz[...] = dy
            product = dy * (x.astype(dtype, copy=False) - layout.along(kept[0]))
            sums = (each.sum(axis=layout.others, dtype="float64") for each in (dy, product))
            return backend_of(x).xp.stack([*sums])

    def differentiate(
        self, dy: Array, x: Array, dx: Array, how: How, kept: Array, sums: Array, count: int
    ) -> None:
        with np.errstate(all="ignore"):
            dy, xhat = _gated(dy, x, how, kept)
            dgamma, dbeta, _, _ = gradients(sums[0], sums[1], kept[1], kept[2], count)
            totals = dgamma.astype(dy.dtype), dbeta.astype(dy.dtype)
            dx[...] = _input_gradient(dy, xhat, how, kept, totals, count)


def _moments(x: Array, layout: Layout) -> tuple[Array, Array, Array, Array, Array]:
    """The mean in two parts and as a whole, deviations from it and their squares in float64."""
    dtype = compute_dtype(x.dtype)
    wide = x.astype(dtype, copy=False)
    center = wide.mean(axis=layout.others, dtype="float64", keepdims=True).astype(dtype)
    deviation = wide - center
    rest = deviation.mean(axis=layout.others, dtype="float64", keepdims=True)
    mu, rest = center + rest, rest.astype(dtype)  # what rounding took from the mean
    deviation = deviation - rest
    square = backend_of(x).xp.square(deviation, dtype="float64")  # 1e20 has one too
    return center, rest, mu, deviation, square


def _gated(
    dy: Array, x: Array, how: How, kept: Array, gate: Gate | None = None
) -> tuple[Array, Array]:
    """dy, or 0 where ReLU stopped it, and xhat."""
    layout, gamma, beta, _, relu = how
    dtype = compute_dtype(dy.dtype)
    center, rest, inv_std = map(layout.along, kept)
    dy = dy.astype(dtype, copy=False)
    xhat = ((x.astype(dtype, copy=False) - center) - rest) * inv_std
    if gate is not None:
        dy = backend_of(dy).xp.where(gate.y <= 0, dy.dtype.type(0), dy)
    elif relu:
        y = xhat if gamma is None else layout.along(gamma) * xhat
        y = y if beta is None else y + layout.along(beta)
        dy = backend_of(dy).xp.where(y <= 0, dy.dtype.type(0), dy)
    return dy, xhat


def _input_gradient(
    dy: Array, xhat: Array, how: How, kept: Array, sums: tuple[Array, Array], m: int
) -> Array:
    """dx from dgamma and dbeta of m values."""
    layout, gamma, inv_std = how.layout, how.gamma, how.layout.along(kept[2])
    dgamma, dbeta = map(layout.along, sums)
    scale = inv_std / m if gamma is None else layout.along(gamma) * inv_std / m
    return scale * (m * dy - dbeta - xhat * dgamma)


def _scaled(
    xhat: Array,
    layout: Layout,
    gamma: Array | None,
    beta: Array | None,
    relu: bool,
    residual: Array | None,
) -> Array:
    """gamma xhat + beta + residual, and ReLU."""
    if gamma is not None:
        xhat = layout.along(gamma) * xhat
    if beta is not None:
        xhat = xhat + layout.along(beta)
    if residual is not None:
        xhat = xhat + residual
    return backend_of(xhat).xp.maximum(xhat, 0) if relu else xhat
