"""The sheet of epochs beside busy processes: each library beside itself, and beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...measuring.measurement import Measurement
from ..ratios import ratios_of
from ..words import short_ratio, short_seconds
from .sheet import Sheet, once

QUIET = "quiet"
"""The operation of an epoch that nothing runs beside."""


def busy(title: str, works: Sequence[Mapping[str, Measurement]]) -> Sheet:
    """A row a situation and library: its time, over its own quiet time of the run, over ours."""
    calm = {
        (found.label, path): found.timing.median
        for paths in works
        for path, found in paths.items()
        if found.operation == QUIET
    }
    labels = {label for label, _ in calm}
    alone = len(labels) == 1
    rows = []
    for paths in works:
        one = ratios_of(paths)
        for path, found in paths.items():
            seconds, own = found.timing.median, calm.get((found.label, path))
            other = one is not None and one.ours is not found
            rows.append(
                (
                    found.operation if alone else f"{found.operation}, {found.label}",
                    path,
                    short_seconds(seconds),
                    short_ratio(None if own is None or found.operation == QUIET else seconds / own),
                    short_ratio(seconds / one.ours.timing.median if one and other else None),
                )
            )
    title += f": an epoch of {labels.pop()}" if alone else ""
    columns = ("an epoch", "path", "time", "over\nown quiet", "beside\nours")
    return Sheet("busy", title, columns, once(rows), words=2)
