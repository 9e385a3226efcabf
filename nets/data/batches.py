"""Batches: how large, and which samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Backend
from ...backend.checks.numbers import count
from ..seeds import seeded
from ..types import Array

_SIZES = ((10_000, 64), (50_000, 128), (250_000, 256))
SMALL = 2_000
FEWEST, MOST, BATCHES = 8, 32, 16


def advised_batch_size(m: int) -> int:
    """A batch size to start from for `m` training samples; nothing calls it unasked.

        m <= 2,000: m, the full batch     <= 10,000: 64     <= 50,000: 128
        <= 250,000: 256     above: 512

    Small sets gain nothing from mini-batches; the usual sizes are powers of two from 64 to 512,
    larger for larger sets, which make enough updates an epoch all the same. Search around it: the
    best size depends on the learning rate, the memory and the device.

    Raises:
        TypeError, ValueError: `m` is not an integer, or smaller than 1.
    """
    m = count("m", m)
    if m <= 2_000:
        return m
    return next((size for most, size in _SIZES if m <= most), 512)


def batch_size_for(n: int, wished: Any = "auto", batch_norm: bool = False) -> int:
    """How many of `n` training samples make a batch.

    Args:
        wished: a number, or "auto": for up to 2,000 samples n / 16, but at least 8 and at most 32,
            since full batches would be one update an epoch; for more, `advised_batch_size`.
        batch_norm: one more, or several, where the last batch would hold a single sample, which
            can't be normalized.

    Raises:
        TypeError, ValueError: `wished` is neither "auto" nor an integer of at least 1.
    """
    if isinstance(wished, str):
        if wished != "auto":
            raise ValueError(f"batch_size is {wished!r}; expected 'auto' or a number")
        size = advised_batch_size(n)
        if n <= SMALL:
            size = min(n, max(FEWEST, min(MOST, n // BATCHES)))
    else:
        size = count("batch_size", wished)
    while batch_norm and n % size == 1 and 1 < size < n:
        size += 1
    return size


def shuffled(
    n: int, rng: int | np.random.Generator | None, backend: Backend | None = None
) -> Array:
    """The numbers 0..n-1 in the order in which `minibatches` takes samples; of None as they are."""
    order: Array = (
        np.arange(n) if rng is None else seeded(np.random.default_rng, rng, "rng").permutation(n)
    )
    return order if backend is None else backend.asarray(order)


def minibatches(
    n: int, batch_size: int, rng: int | np.random.Generator, backend: Backend | None = None
) -> Iterator[Array]:
    """Index arrays of one epoch: all of 0..n-1, shuffled, in batches.

    Args:
        n: number of samples, at least 1.
        batch_size: samples a batch, at least 1: n or more is batch gradient descent, 1 is
            stochastic. The last batch holds the rest.
        rng: a generator, which shuffles every epoch anew; or a seed, which repeats its one order.
        backend: where the indices are to lie; NumPy by default. The order is copied to a GPU once
            an epoch, not once a batch.

    Raises:
        ValueError: `n` or `batch_size` is smaller than 1 (at the call, not at the first batch).
    """
    n, batch_size = count("n", n), count("batch_size", batch_size)
    order = shuffled(n, rng, backend)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))
