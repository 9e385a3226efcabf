"""The sums of the parts of an array on a GPU, joined by a few expressions in float64."""

from __future__ import annotations

from collections.abc import Sequence

from ....backend import Array, backend_of
from ..formula import about


def joined_moments(near: Array, means: Array, m2s: Array, counts: Sequence[int]) -> Array:
    """Mean and sum of squared deviations of each channel, (2, C), from those of x - near in parts
    of so many values, (parts, C) each."""
    xp = backend_of(near).xp
    values = xp.asarray([[float(count)] for count in counts])
    means, m2s = means.astype("float64"), m2s.astype("float64")
    mean = (values * means).sum(axis=0) / float(sum(counts))
    (squares,) = about(m2s, means, values, mean)
    return xp.stack([near + mean, squares.sum(axis=0)])


def joined_products(sums: Array) -> Array:
    """Sums of all parts, (2, C), from (2, parts, C)."""
    return sums.sum(axis=1, dtype="float64")
