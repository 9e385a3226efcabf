"""The sheets that say why: bytes moved, and the factors of the gain."""

from __future__ import annotations

from collections.abc import Iterator

from ..ratios import ratios
from ..record import Report
from ..words import short_ratio
from .sheet import Sheet, largest, once

CAUSES = ("allocation", "passes", "threads")
"""What `Ratios.attribution` tells apart, a column each."""

OF_ARRAYS = ("steps", "batch-norm")
"""The sections whose size is a number of elements."""


def traffic(report: Report) -> Sheet:
    """Bytes an element, passes and memory of every path that counted them."""
    rows = [
        (
            found.operation if found.dtype == "float32" else f"{found.operation}, {found.dtype}",
            found.label,
            found.path,
            f"{found.bytes / found.size:.3g}",
            f"{found.moved / found.size:.3g}",
            "" if found.launches is None else str(found.launches),
            "" if found.memory is None else _amount(found.memory / found.size),
        )
        for found in largest(report)
        if found.section in OF_ARRAYS and found.moved is not None and found.bytes
    ]
    names = ("operation", "label", "path", "must\nmove", "moved", "passes", "allocated")
    return Sheet("traffic", "Bytes an element, largest size", names, once(rows, 2), words=3)


def _amount(value: float) -> str:
    """Bytes an element; what a call allocates once, for its objects, is no amount an element."""
    return "0" if value < 0.05 else f"{value:.3g}"


def causes(report: Report) -> Iterator[Sheet]:
    """Allocation, passes and threads at the largest size, and at every size in detail."""
    rows = [
        (
            one.ours,
            (
                f"{one.ours.section}, {one.ours.operation}",
                one.ours.label,
                *(short_ratio(one.attribution.get(cause)) for cause in CAUSES),
                short_ratio(one.gain),
            ),
        )
        for one in ratios(report)
        if one.attribution
    ]
    columns, title = ("operation", "label", *CAUSES, "gain"), "Where the gain comes from"
    top = largest(report)
    short = [row for ours, row in rows if ours in top]
    yield Sheet("causes", f"{title}, largest size", columns, short, words=2)
    yield Sheet("causes", title, columns, once([row for _, row in rows]), words=2, detail=True)
