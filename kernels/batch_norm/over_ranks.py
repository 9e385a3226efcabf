"""Training's two passes where the batch lies on several ranks: sums, their merge, and the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from ...backend import Array, backend_of
from .channel_vectors import computed, given
from .contract import BatchNormEngine, Gate, How
from .formula import affine, averaged, deviation, gradients
from .gradient_places import try_copies
from .layout import Layout
from .merging import Moments, added, merged_moments, packed

Gather: TypeAlias = Callable[[Array], Array]
"""Returns an array of all ranks, checked."""


class Averages(NamedTuple):
    """The user's running statistics, or None, and how they are averaged."""

    mean: Array | None
    var: Array | None
    momentum: float
    ddof: int


class Forward(NamedTuple):
    """What follows from a forward: `Saved.kept` and `count`, and what is still to be written."""

    kept: Array
    values: int
    writes: list[tuple[Array, Array]]


def forward(
    engine: BatchNormEngine, x: Array, y: Array, how: How, averages: Averages, gather: Gather,
    residual: Array | None = None,
) -> Forward:  # fmt: skip
    """Write y of this rank's x by the statistics of all ranks; x may be empty.

    Raises:
        TypeError, ValueError, MixedBackendsError: merge returns something else than it should, or
            all ranks have less than two values a channel; nothing was written.
    """
    layout, gamma, beta, eps, relu = how
    xp, dtype = backend_of(x).xp, computed(x)
    with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
        moments = engine.moments(x, layout) if x.size else _nothing(x, layout)
        total = merged_moments(gather(packed(moments, layout.count)))
        if layout.channels and total.values < 2:
            raise ValueError(
                f"x has shape {x.shape}, and all {total.ranks} rank(s) together have "
                f"{total.values} value(s) a channel; expected at least 2 to take a "
                "variance of. Give the ranks more samples"
            )
        kept = xp.asarray(_kept(total, eps, dtype))
        writes = _averaged(total, averages)
        try_copies((averages.mean, averages.var))
        if x.size:
            gamma, beta = given(xp, gamma, beta, layout.channels, dtype)
            scale, shift = affine(gamma, beta, kept[1], kept[2])
            ones = xp.ones(layout.channels, dtype)  # 1 / sqrt(1 + 0) leaves the scale as it is
            engine.inference(x, y, How(layout, scale, shift, 0.0, relu), kept[0], ones, residual)
    return Forward(kept, total.values, writes)


def _nothing(x: Array, layout: Layout) -> Array:
    """What a rank without rows has: two sums a channel of no values."""
    return backend_of(x).xp.zeros((2, layout.channels), "float64")


def _kept(total: Moments, eps: float, dtype: str) -> np.ndarray:
    """center, rest and inv_std, in the precision of the computation."""
    variance = total.m2 / max(total.values, 1)
    (inv_std,) = deviation(variance, eps, 1.0)
    center = total.mean.astype(dtype)
    return np.stack([center, (total.mean - center).astype(dtype), inv_std.astype(dtype)])


def _averaged(total: Moments, averages: Averages) -> list[tuple[Array, Array]]:
    """The running statistics, and what they will hold, in their own dtypes."""
    mean, var, momentum, ddof = averages
    writes = []
    for own, latest in ((mean, total.mean), (var, total.m2 / max(total.values - ddof, 1))):
        if own is not None:
            latest = backend_of(own).xp.asarray(latest)
            (new,) = averaged(own.astype("float64"), latest, 1.0 - momentum, momentum)
            writes.append((own, new.astype(own.dtype)))
    return writes


def backward(
    engine: BatchNormEngine, dy: Array, x: Array, dx: Array, how: How, kept: Array, count: int,
    gather: Gather, gate: Gate | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Write dx of this rank's x from the sums of all ranks, which have `count` values a channel;
    return this rank's own dgamma and dbeta. x may be empty. dz of a gate is written first, before
    anything is gathered.

    Raises:
        TypeError, ValueError, MixedBackendsError: merge returns something else than it should;
            nothing was written.
    """
    dtype = computed(x)
    with np.errstate(all="ignore"):
        sums = engine.products(dy, x, how, kept, gate) if x.size else _nothing(x, how.layout)
        dgamma, dbeta, _, _ = gradients(sums[0], sums[1], kept[1], kept[2], float(count))
        dgamma, dbeta = dgamma.astype(dtype), dbeta.astype(dtype)
        total = added(gather(sums))
        if x.size:
            if gate is not None:
                dy, how = gate.dz, how._replace(relu=False)
            engine.differentiate(dy, x, dx, how, kept, total, count)
    return dgamma, dbeta
