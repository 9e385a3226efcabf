"""Who has which part: of the parameters, and of a batch."""

from __future__ import annotations

from typing import TypeAlias

Bounds: TypeAlias = tuple[int, ...]
"""Where parts begin and end: part r is [bounds[r], bounds[r + 1]). Of parameters all are equally
long, but for the last, which is not shorter."""

LINE = 4
"""Elements that a part begins at a multiple of: 16 bytes of float32, as GPUs read them."""


def shards(size: int, ranks: int) -> Bounds:
    """Cut `size` elements into a part for each rank.

    All parts are equally long, a multiple of LINE, but for the last, which has the rest: so a
    collective of equal parts carries all but fewer than LINE * ranks elements.
    """
    each = size // ranks // LINE * LINE
    return (*(each * rank for rank in range(ranks)), size)


def batch_parts(rows: int, ranks: int, least: int = 1) -> Bounds:
    """Cut the rows of a batch into a part for each rank, as equal as can be.

    Where there are not `least` rows for each, the first ranks have as many, and the last have none.
    """
    working = max(1, min(ranks, rows // least))
    ends = [rows * rank // working for rank in range(1, working + 1)]
    return (0, *ends, *[rows] * (ranks - working))
