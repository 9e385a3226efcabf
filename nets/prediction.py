"""What a trained network says of data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..backend.checks import count
from .losses import Loss
from .sequential import Sequential
from .types import Array, HostArray


def predict(net: Sequential, x: Array, batch_size: int = 1024) -> HostArray:
    """The class with the largest output for each row, as NumPy int64 of shape (n,).

    Args:
        net: a classifier; left as it is.
        x: rows, shape (n, in_features), on any device; moved to the network's in one copy.
        batch_size: rows that go through the network at once, at least 1; bounds the memory.

    Raises:
        ValueError: `x` has another shape, or `batch_size` is smaller than 1.
    """
    backend = net.backend
    x = rows_of(net, x, "x")
    with backend.scope():
        labels = [net(x[part]).argmax(axis=1) for part in _parts(len(x), batch_size)]
        found = backend.xp.concatenate(labels) if labels else np.empty(0)
    return backend.to_numpy(found).astype(np.int64)


def accuracy(net: Sequential, x: Array, y: Array) -> float:
    """The share of rows of `x` for which `predict` gives the label in `y`, shape (n,).

    Raises:
        ValueError: there are no rows, or as many labels as rows there are not.
    """
    y = net.backend.to_numpy(y)
    if not len(x) or y.shape != (len(x),):
        raise ValueError(f"y has shape {y.shape}; expected ({len(x)},), and at least one row")
    return float(np.mean(predict(net, x) == y))


def evaluate(net: Sequential, x: Array, y: Array, loss: Loss) -> tuple[float, float]:
    """(mean loss, accuracy) on data that is on the network's device already, read back once."""
    total: Array = 0.0
    hits: Array = 0
    with net.backend.scope():
        for part in _parts(len(x), 1024):
            output = net(x[part])
            total = total + loss(output, y[part])[0] * float(len(output))
            hits = hits + (output.argmax(axis=1) == y[part]).sum()
    return float(total) / len(x), int(hits) / len(x)


def rows_of(net: Sequential, x: Array, name: str) -> Array:
    """`x`, called `name` in errors, on the network's device and in its dtype.

    Raises:
        ValueError: its shape is not (n, in_features).
    """
    width = "features" if net.in_features is None else net.in_features
    x = net.backend.asarray(x, dtype=net.dtype)
    if x.ndim != 2 or net.in_features not in (None, x.shape[1]):
        raise ValueError(f"{name} has shape {x.shape}; expected (n, {width}), a row a sample")
    return x


def _parts(n: int, size: int) -> Iterator[slice]:
    size = count("batch_size", size)
    return (slice(start, start + size) for start in range(0, n, size))
