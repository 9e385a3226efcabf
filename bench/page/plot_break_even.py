"""The plots of break-even points: a row an operation, on an axis of sizes."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import TYPE_CHECKING, Any

from ..report.ratios import BreakEven, break_evens
from ..report.record import Report
from ..report.words import break_even_words, short_size
from .looks import OURS
from .plot import Plot, panels, ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS = {
    "steps": "elements",
    "batch-norm": "elements",
    "elementwise": "elements",
    "tensors": "tensors",
}
"""What a section's sizes count."""


def break_even_plots(report: Report) -> Iterator[Plot]:
    """A plot for each section that has break-even points."""
    found = break_evens(report)
    for section in dict.fromkeys(one.section for one in found):
        here = [one for one in found if one.section == section]
        caption = (
            f"The size from which our path is and stays faster than array expressions ({section}); "
            "grey lines span the sizes measured."
        )
        figure = _points(here, f"From here on ours is faster than array expressions: {section}")
        yield Plot(f"break-even {section}", section, caption, figure, ("break-even",))


def _points(found: list[BreakEven], title: str) -> Figure:
    figure, (axes,) = panels(1, 0.6 + 0.32 * len(found), title)
    several = len({(one.dtype, one.device) for one in found}) > 1
    for k, one in enumerate(found):
        at = one.size or (one.smallest if one.when == "always" else one.largest)
        marker = {"always": "<", "never": ">"}.get(one.when, "o")
        axes.plot([one.smallest, one.largest], [k, k], color="#bbbbbb", linewidth=3)
        axes.plot([at], [k], marker, color=OURS.color, markeredgecolor="black", markersize=7)
        words = break_even_words(one).partition(" (")[0]
        place: dict[str, Any] = {
            "ha": "right" if one.when == "never" else "left",
            "va": "bottom",
            "fontsize": 8,
        }
        offset = (-5 if one.when == "never" else 5, 3)
        axes.annotate(words, (at, k), offset, textcoords="offset points", **place)
    names = [f"{f.operation}, {f.dtype}, {f.device}" if several else f.operation for f in found]
    axes.set_yticks(range(len(names)), [fill(name, 28) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.8)
    axes.set_xscale("log")
    ticks(axes.xaxis, short_size)
    axes.set_xlabel(UNITS.get(found[0].section, "size"))
    return figure
