"""Data sets and batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..backend import Backend
from ..backend.number_checks import count
from .seeds import seeded
from .types import Array, HostArray

_SIZES = ((10_000, 64), (50_000, 128), (250_000, 256))


@dataclass(frozen=True)
class Dataset:
    """Samples and labels for training, and others held out for testing, as NumPy arrays.

    Attributes:
        x_train, x_test: shape (n, features), float32, a row a sample.
        y_train, y_test: shape (n,), int64, class numbers.
        classes: how many classes there are.
        name: what messages and reports call it.

    Raises:
        ValueError: samples and labels differ in number, the two parts differ in width, or a label
            is outside 0..classes-1.
    """

    x_train: HostArray
    y_train: HostArray
    x_test: HostArray
    y_test: HostArray
    classes: int
    name: str

    def __post_init__(self) -> None:
        for part, x, y in (
            ("train", self.x_train, self.y_train),
            ("test", self.x_test, self.y_test),
        ):
            if x.ndim != 2 or y.shape != x.shape[:1]:
                raise ValueError(
                    f"x_{part} and y_{part} have shapes {x.shape} and {y.shape}; expected "
                    "(n, features) and (n,)"
                )
            if y.size and not 0 <= y.min() <= y.max() < self.classes:
                raise ValueError(
                    f"y_{part} holds {y.min()} to {y.max()}; expected 0..{self.classes - 1}"
                )
        if self.x_train.shape[1] != self.x_test.shape[1]:
            raise ValueError(
                f"x_train has {self.x_train.shape[1]} features and x_test has "
                f"{self.x_test.shape[1]}; expected the same number"
            )

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, {len(self.x_train)} + {len(self.x_test)} samples of "
            f"{self.x_train.shape[1]} features, {self.classes} classes)"
        )


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
    order: Array = seeded(np.random.default_rng, rng, "rng").permutation(n)
    if backend is not None:
        order = backend.asarray(order)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))
