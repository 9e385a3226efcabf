"""The batch size where nobody has chosen one."""

from __future__ import annotations

from typing import Any

from ..backend.number_checks import count
from .data import advised_batch_size

SMALL = 2_000
FEWEST, MOST, BATCHES = 8, 32, 16


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
