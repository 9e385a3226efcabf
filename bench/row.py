"""One figure: a ratio, what it must reach, and the timings behind it."""

from __future__ import annotations

from typing import Any

from .timing import Timing

Row = dict[str, Any]


def row(
    what: str, ratio: float, need: float | None, times: dict[str, Timing], at_most: bool
) -> Row:
    """`need` is None for a figure that only explains another one."""
    return {
        "figure": what,
        "value": ratio,
        "at_most" if at_most else "at_least": need,
        "reached": need is None or (ratio <= need if at_most else ratio >= need),
        "seconds": {name: vars(timing) for name, timing in times.items()},
    }
