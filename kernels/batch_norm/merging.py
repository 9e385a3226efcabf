"""One batch on several ranks: what each of them sends, and how all make the same of it.

Every rank takes the same numbers in the same order, in float64 and an operation at a time, on
whatever engine and device, so that all end with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from .formula import merged

Merge: TypeAlias = Callable[[Array], Array]
"""Takes an array of this rank's, and returns those of all ranks, stacked in their order."""

RESULT = "what merge returned"


class Moments(NamedTuple):
    """Of all ranks together, on the host: how many values a channel has; mean and sum of squared
    deviations of each channel, (C,); how many ranks there are."""

    values: int
    mean: np.ndarray
    m2: np.ndarray
    ranks: int


def check_merge(merge: Any) -> None:
    """None, or something to call."""
    if merge is not None and not callable(merge):
        raise TypeError(
            f"merge is a {type(merge).__name__}; expected None, or a function that takes an array "
            "and returns those of all ranks, stacked"
        )


def check_same(merge: Any, count: int | None) -> None:
    """A backward has a merge if its forward, which saved `count`, had one."""
    check_merge(merge)
    if (merge is None) != (count is None):
        had, has = ("no", "one") if count is None else ("a", "none")
        raise ValueError(
            f"saved is of a forward that had {had} merge, and the backward has {has}; expected one "
            "in both or in neither. Pass what batch_norm_forward was given"
        )


def gathered(merge: Merge, told: Explained, values: Array) -> Array:
    """`values` of all ranks, (ranks, *values.shape); an error of merge's own stays as it is."""
    try:
        found = merge(values)
    except BaseException as error:
        told.spared = error
        raise
    (found,) = taken_in([RESULT], [found])
    backend_of(values, found, names=["x", RESULT])
    expected = f"(ranks, {', '.join(map(str, values.shape))})"
    if found.dtype != values.dtype:
        raise TypeError(
            f"{RESULT} has dtype {found.dtype} but it was given {values.dtype}; expected the same, "
            "of all ranks"
        )
    if found.ndim != values.ndim + 1 or not len(found) or found.shape[1:] != values.shape:
        raise ValueError(
            f"{RESULT} has shape {found.shape}; expected {expected}, the arrays of all ranks "
            "stacked in their order, as numpy.stack does"
        )
    return found


def packed(moments: Array, count: int) -> Array:
    """What a rank sends in a forward: means, sums of squared deviations, and its values of a
    channel, in one vector of 2 C + 1 numbers."""
    values = backend_of(moments).xp.empty(moments.size + 1, "float64")
    values[:-1], values[-1] = moments.reshape(-1), count
    return values


def merged_moments(sent: Array) -> Moments:
    """From `packed` values of all ranks; those without a value add nothing."""
    rows = backend_of(sent).to_numpy(sent)
    channels = rows.shape[1] // 2
    count, mean, m2 = 0.0, np.zeros(channels), np.zeros(channels)
    for row in rows:
        if row[-1] > 0:
            more = float(row[-1])
            count, mean, m2 = merged(count, mean, m2, more, row[:channels], row[channels:-1])
    return Moments(int(count), mean, m2, len(rows))


def added(sent: Array) -> Array:
    """The sum over ranks, one after another."""
    total = sent[0]
    for more in sent[1:]:
        total = total + more
    return total
