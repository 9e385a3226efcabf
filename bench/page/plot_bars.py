"""Groups of horizontal bars, a bar a path: the plots of every section without others of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import fill
from typing import TYPE_CHECKING, Any

from ..measuring.measurement import Measurement
from ..report.record import Report
from ..report.words import short_seconds
from .looks import LIMIT, look, order
from .plot import Plot, legend, panels, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def bar_plots(report: Report) -> Iterator[Plot]:
    """A plot for each section, dtype and device; steps and growth have their own."""
    places: dict[tuple[str, str, str], list[Measurement]] = {}
    for one in report.measurements:
        if one.section not in ("steps", "growth"):
            places.setdefault((one.section, one.dtype, one.device), []).append(one)
    for place, here in places.items():
        where = ", ".join(word for word in place if word)
        caption = f"Time of each path ({where}): shorter is better."
        figure, behind = _bars(here, f"Time of each path: {where}"), (place[0], f"{place[0]} paths")
        yield Plot(where, place[0], caption, figure, behind)


def _bars(found: list[Measurement], title: str) -> Figure:
    """One panel with a group a workload, or a panel an operation where there are many."""
    groups: dict[str, dict[str, dict[str, float]]] = {}
    many = len({(one.operation, one.label) for one in found}) > 10
    for one in found:
        panel, group = one.operation, one.label
        if not many:
            panel, group = "", f"{one.operation}, {one.label}" if one.label else one.operation
        groups.setdefault(panel, {}).setdefault(group, {})[one.path] = one.timing.median
    bars = max(sum(map(len, rows.values())) + len(rows) for rows in groups.values())
    same = len({tuple(rows) for rows in groups.values()}) == 1
    figure, drawn = panels(len(groups), 0.5 + 0.13 * bars, title)
    paths = order(one.path for one in found)
    for k, (axes, (name, rows)) in enumerate(zip(drawn, groups.items(), strict=True)):
        values = [value for row in rows.values() for value in row.values()]
        if max(values) > 30 * min(values):
            axes.set_xscale("log")
        grouped(axes, rows, paths, short_seconds)
        ticks(axes.xaxis, short_seconds)
        axes.set_title(name)
        axes.set_xlabel("time" if axes.get_xscale() == "linear" else "time, log axis")
        if many and same and k % 2:
            axes.tick_params(labelleft=False)
    legend(figure, *drawn)
    return figure


def grouped(
    axes: Axes, rows: dict[str, dict[str, float]], paths: list[str], words: Callable[[float], str]
) -> None:
    """Horizontal bars: a group a row, a bar a path, its value at its end."""
    at, middles = 0.0, []
    for row in rows.values():
        middles.append(at + (len(row) - 1) / 2)
        for path in (path for path in paths if path in row):
            found = look(path)
            label = "_" if path in axes.get_legend_handles_labels()[1] else path
            drawn: dict[str, Any] = {
                "color": "white" if found is LIMIT else found.color,
                "hatch": found.hatch,
                "edgecolor": "black",
                "linewidth": 0.5,
            }
            axes.barh(at, row[path], 0.86, label=label, **drawn)
            place: dict[str, Any] = {"va": "center", "fontsize": 6.5}
            axes.annotate(
                words(row[path]), (row[path], at), (3, -0.5), textcoords="offset points", **place
            )
            at += 1
        at += 0.8
    axes.set_yticks(middles, [fill(name, 20) for name in rows])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_ylim(at - 1, -0.8)
    axes.grid(False, axis="y")
    axes.margins(x=0.2)
    if axes.get_xscale() == "log":
        values = [value for row in rows.values() for value in row.values()]
        axes.set_xlim(min(values) / 3, max(values) * 8)
