"""One plot of a report, and what plots are built from: panels, lines, a legend, ticks in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .looks import OURS, look, order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.8
"""Of every figure, in inches: one column of a page."""


@dataclass(frozen=True)
class Plot:
    """A figure and what is said about it.

    Attributes:
        name: of its file, without the ending; unique within a report.
        section: of the report.
        caption: one sentence.
        sheets: the sections of the sheets (sheet.py) that hold its numbers.
    """

    name: str
    section: str
    caption: str
    figure: Figure
    sheets: tuple[str, ...]


def panels(
    count: int, height: float, title: str, shared: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of that height in inches, in two columns if there are two."""
    from matplotlib.figure import Figure

    columns = min(2, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.8), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=10.5)
    drawn = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared).ravel()
    for empty in drawn[count:]:
        empty.remove()
    return figure, list(drawn[:count])


def line(
    axes: Axes, x: Sequence[float], y: Sequence[float], path: str, label: str | None = None
) -> None:
    """Draw a path's line in its look; the legend calls it `label`, or as the path."""
    found = look(path)
    axes.plot(
        x,
        y,
        color=found.color,
        marker=found.marker,
        linestyle=found.line,
        label=label or path,
        markeredgecolor="black",
        markeredgewidth=0.4,
        zorder=3 if found is OURS else 2,
    )


def legend(figure: Figure, *drawn: Axes) -> None:
    """One legend under the panels, for all of them."""
    handles: dict[str, Any] = {}
    for axes in drawn:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    names = order(handles)
    figure.legend([handles[name] for name in names], names, loc="outside lower left", ncols=4)


def ticks(axis: Any, words: Callable[[float], str]) -> None:
    """Ticks in words; on a log axis at powers of ten, where the axis spans enough of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    if axis.get_scale() == "log":
        low, high = sorted(axis.get_view_interval())
        subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(10, subs, numticks=6))
        axis.set_minor_formatter(NullFormatter())
        if high > 1e4 * low:
            axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: words(value).replace(".0 ", " ") if value else "0")
    )
