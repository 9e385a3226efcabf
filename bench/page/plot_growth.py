"""Time against size: the plot of the section "growth", and the drawing that steps share with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..measuring.measurement import Measurement
from ..report.exponents import growths
from ..report.record import Report
from ..report.words import short_seconds, short_size
from .looks import order
from .plot import Plot, legend, line, panels, ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def growth_plots(report: Report) -> Iterator[Plot]:
    """Small multiples of what grows, with the exponent of every path in the legends."""
    here = [one for one in report.measurements if one.section == "growth"]
    if here:
        slopes = {
            (one.operation, one.dtype, one.device, one.path): one.upper
            for one in growths(report)
            if one.section == "growth"
        }
        caption = "Time as one number grows; k is the exponent of time ~ size^k at the upper half."
        figure = against_size(here, "How cost grows", slopes)
        yield Plot("growth", "growth", caption, figure, ("growth", "exponents"))


def against_size(
    found: list[Measurement],
    title: str,
    slopes: dict[tuple[str, str, str, str], float] | None = None,
) -> Figure:
    """Small multiples of time against size; with `slopes`, a legend a panel that tells them."""
    lines: dict[tuple[str, str, str], dict[str, list[Measurement]]] = {}
    for one in found:
        panel = lines.setdefault((one.operation, one.dtype, one.device), {})
        panel.setdefault(one.path, []).append(one)
    figure, drawn = panels(len(lines), 2.1 if slopes is None else 3.0, title, slopes is None)
    several = len({key[1:] for key in lines}) > 1
    for axes, (key, paths) in zip(drawn, lines.items(), strict=True):
        for path in order(paths):
            points = sorted(paths[path], key=lambda one: one.size)
            sizes, seconds = zip(*((one.size, one.timing.median) for one in points), strict=True)
            slope = slopes.get((*key, path)) if slopes else None
            line(axes, sizes, seconds, path, None if slope is None else f"{path}: k = {slope:.2f}")
        axes.set_title(", ".join(key) if several else key[0])
        axes.set(xscale="log", yscale="log")
        ticks(axes.xaxis, short_size)
        ticks(axes.yaxis, short_seconds)
        axes.set_xlabel("elements" if slopes is None else key[0].partition(" by ")[2] or "size")
        axes.set_ylabel("time")
        if slopes is None:
            axes.label_outer()
        else:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8)
    if slopes is None:
        legend(figure, *drawn)
    return figure
