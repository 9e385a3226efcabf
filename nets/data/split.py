"""Splitting samples into parts: training, development and test sets."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Any

import numpy as np
from array_api_compat import is_cupy_array

from ...backend import backend_of
from ...backend.checks.numbers import finite_number, flag
from ...backend.foreign import array_of
from ..labels import numbered
from ..seeds import seeded
from ..types import Array, HostArray


def split(
    x: Any,
    y: Any,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    stratify: bool = False,
    seed: int = 0,
) -> list[tuple[Array, Array]]:
    """Shuffled parts [(x, y), ...], one for each fraction; every sample is in one part.

    Part k gets floor(n f_k) samples; what is left over goes, one each, to the parts that lack most
    of n f_k, the earlier one in a tie: so each is less than one sample off. With `stratify` this
    holds within every class, and what is left over evens out from class to class: all parts have
    the same share of every class, as near as whole samples allow.

    Args:
        x: samples, any array (n, ...), list or pandas DataFrame, on any device; left untouched.
            Parts of a DataFrame or Series are such too; of others NumPy arrays, or CuPy's on the
            device of `x`.
        y: labels, names too, or numbers, (n, ...); (n,) to stratify.
        fractions: of the samples for each part, > 0, together 1: (0.6, 0.2, 0.2), or, of a million
            samples, (0.98, 0.01, 0.01).
        stratify: keep the shares of the classes in `y`.
        seed: of the choice and the order.

    Raises:
        TypeError: a fraction is no number, or `stratify` is asked for numbers that are no classes,
            or for labels that can't be sorted, such as None beside names; or x or y is a masked
            array.
        ValueError: x and y differ in length, the fractions are not > 0 or not together 1, or a part
            would be empty.

    Example:
        >>> import numpy as np
        >>> x, y = np.arange(100.0).reshape(50, 2), np.arange(50) % 2
        >>> (x_train, y_train), (x_dev, y_dev), (x_test, y_test) = split(x, y, stratify=True)
        >>> len(x_train), len(x_dev), len(x_test), int(y_train.sum())
        (30, 10, 10, 15)
    """
    x, y = _samples("x", x), _samples("y", y)
    if x.ndim < 1 or y.ndim < 1 or len(x) != len(y):
        raise ValueError(f"x and y have shapes {x.shape} and {y.shape}; expected the same length")
    labels = _classes(y) if flag("stratify", stratify) else np.zeros(len(y), int)
    shares = np.array(_fractions(fractions))
    parts = _deal(labels, _even_counts(labels, shares), seed)
    if not all(map(len, parts)):
        raise ValueError(
            f"fractions is {fractions!r}; expected what leaves none of {len(parts)} parts of "
            f"{len(y)} samples empty"
        )
    return [(_rows(x, part), _rows(y, part)) for part in parts]


def stratified_split(
    y: HostArray, test_fraction: float, seed: int = 0
) -> tuple[HostArray, HostArray]:
    """Shuffled indices (train, test) with the same share of every class in both.

    Args:
        y: class numbers or names, shape (n,).
        test_fraction: between 0 and 1; of each class, this share (rounded) is held out.
        seed: of the choice and the order.

    Raises:
        TypeError: `y` holds numbers that are no classes, or labels that can't be sorted, or is a
            masked array.
        ValueError: `test_fraction` is not between 0 and 1, or leaves a part empty.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction!r}; expected a number in (0, 1)")
    labels = _classes(y)
    sizes = np.unique(labels, return_counts=True)[1]
    held_out = np.array([round(test_fraction * size) for size in sizes], int)
    test, train = _deal(labels, np.column_stack([held_out, sizes - held_out]), seed)
    if not (len(train) and len(test)):
        raise ValueError(
            f"test_fraction is {test_fraction!r}; expected one that leaves both parts of "
            f"{len(labels)} samples non-empty"
        )
    return train, test


def _even_counts(labels: HostArray, fractions: HostArray) -> HostArray:
    """(classes, parts): how many of each class go to each part, as `split` promises it."""
    sizes = np.unique(labels, return_counts=True)[1]
    counts = np.empty((len(sizes), len(fractions)), int)
    owed = np.zeros(len(fractions))
    for count, size in zip(counts, sizes, strict=True):
        exact = size * fractions
        count[:] = np.floor(exact + 1e-9)  # 0.29 * 100 is a rounding error below 29
        owed += exact - count
        lacking = np.where(exact - count > 1e-9, np.round(owed, 9), -np.inf)
        neediest = np.argsort(-lacking, kind="stable")[: size - count.sum()]
        count[neediest] += 1
        owed[neediest] -= 1
    return counts


def _deal(labels: HostArray, counts: HostArray, seed: int) -> list[HostArray]:
    """The indices of each part, shuffled: of the k-th class, counts[k] go to the parts."""
    rng = seeded(np.random.default_rng, seed)
    part = np.empty(len(labels), int)
    for label, count in zip(np.unique(labels), counts, strict=True):
        members = rng.permutation(np.flatnonzero(labels == label))
        part[members] = np.repeat(np.arange(len(count)), count)
    order = rng.permutation(len(labels))
    return [order[part[order] == k] for k in range(counts.shape[1])]


def _fractions(given: Sequence[float]) -> list[float]:
    if not isinstance(given, (tuple, list)) or len(given) < 2:
        raise ValueError(f"fractions is {given!r}; expected two or more, such as (0.6, 0.2, 0.2)")
    fractions = [finite_number(f"fractions[{k}]", value) for k, value in enumerate(given)]
    if min(fractions) <= 0 or abs(fsum(fractions) - 1) > 1e-6:
        raise ValueError(
            f"fractions is {given!r}, together {fsum(fractions):g}; expected numbers > 0, "
            "together 1"
        )
    return [value / fsum(fractions) for value in fractions]


def _samples(name: str, values: Any) -> Array:
    """`values` as an array, or what pandas has for one: something to be taken rows of."""
    return values if hasattr(values, "iloc") else array_of(values, name)


def _classes(y: Any) -> HostArray:
    """`y` as class numbers or names on the CPU."""
    given = array_of(y, "y")
    labels: HostArray = given.get() if is_cupy_array(given) else given
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}; expected (n,) classes to stratify by")
    if labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():
        raise TypeError("y holds numbers that are no classes; expected whole numbers or names")
    return numbered(labels)[1]


def _rows(array: Array, indices: HostArray) -> Array:
    if hasattr(array, "iloc"):
        return array.iloc[indices]
    backend = backend_of(array)
    with backend.scope():
        return array[backend.asarray(indices)]
