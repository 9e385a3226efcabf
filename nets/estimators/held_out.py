"""The samples that early stopping watches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.split import split
from ..types import HostArray


def held_out(y: HostArray, fraction: Any, classes: bool, seed: int) -> tuple[HostArray, HostArray]:
    """The numbers of the rows that are trained on, and of those that are watched.

    Of classes, (n,), the same share of each is held out, and never all of one; of targets at least
    two rows where there are four, since R^2 takes two.

    Args:
        y: (n,) or (n, k).
        fraction: of the rows that is held out, in (0, 1).
        classes: whether `y` holds classes or labels, not numbers.

    Raises:
        ValueError: `fraction` is something else, or too few rows would be held out.
    """
    if not (isinstance(fraction, (float, np.floating)) and 0 < fraction < 1):
        raise ValueError(f"validation_fraction is {fraction!r}; expected a number in (0, 1)")
    n, stratified = len(y), classes and y.ndim == 1
    least = 1 if classes else 2
    share = float(fraction)
    if not classes and n >= 4:
        share = min(max(share, least / n), 0.99)
    few = (
        "The validation set is too small. Increase 'validation_fraction' or the size of your "
        f"dataset. (validation_fraction is {fraction!r}, n_samples={n})"
    )
    try:
        parts = split(np.arange(n), y, (1 - share, share), stratify=stratified, seed=seed)
    except ValueError as error:
        raise ValueError(few) from error
    rows, held = (numbers for numbers, _ in parts)
    if stratified:  # a class of one or two samples may have gone to the other side
        unseen = ~np.isin(y[held], y[rows])
        rows, held = np.append(rows, held[unseen]), held[~unseen]
    if len(held) < least:
        raise ValueError(few)
    return rows, held
