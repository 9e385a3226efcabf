"""The plots of the section "steps": time, gain, peers, and the bytes that paths move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..measuring.measurement import Measurement
from ..report.ratios import ratios
from ..report.record import Report
from ..report.sheets.sheet import largest
from ..report.words import short_range, short_ratio, short_size
from .looks import SIZE_LOOKS, order
from .plot import Plot, legend, panels, ticks
from .plot_bars import grouped
from .plot_growth import against_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def step_plots(report: Report) -> Iterator[Plot]:
    """Up to four plots for each dtype and device."""
    steps = [one for one in report.measurements if one.section == "steps"]
    top = largest(report)
    for where in dict.fromkeys(f"{one.dtype}, {one.device}" for one in steps):
        here = [one for one in steps if f"{one.dtype}, {one.device}" == where]
        caption = f"One step ({where}): the nearer to the dashed limit, the less is left to gain."
        found = [one for one in ratios(report) if one.ours in here]
        shares = [one.share for one in found if one.ours in top and one.share is not None]
        near = (
            f"Large steps run at {short_range(shares, '{:.0%}'.format)} of the limit"
            if shares
            else ""
        )
        figure = against_size(here, f"{near or 'Time of one step'} ({where})")
        yield Plot(f"time {where}", "steps", caption, figure, ("steps", "steps paths"))

        gains = [(one.ours, one.gain) for one in found if one.gain is not None]
        peers = [(one.ours, one.against_peer) for one in found if one.against_peer is not None]
        for name, what, values, sheets in (
            ("gain", "array expressions", gains, ("steps", "causes")),
            ("peer", "the best peer", peers, ("steps",)),
        ):
            if values:
                caption = f"Time of {what} over ours ({where}): above 1 ours is faster."
                reach = short_range([value for _, value in values], short_ratio)
                title = f"Ours is {reach} as fast as {what} ({where})"
                figure = _ratio_bars(values, title, f"time of {what} / ours")
                yield Plot(f"{name} {where}", "steps", caption, figure, sheets)

        moved = [one for one in here if one.moved is not None and one.bytes and one in top]
        if moved:
            caption = f"Bytes read and written ({where}): what must move, and what each path moves."
            figure = _traffic(moved, f"Separate passes move the same memory again ({where})")
            yield Plot(f"bytes {where}", "steps", caption, figure, ("traffic",))


def _ratio_bars(values: list[tuple[Measurement, float]], title: str, what: str) -> Figure:
    """Bars from 1 on a log axis: for each operation a small, a middle and a large size."""
    sizes = sorted({one.size for one, _ in values})
    sizes = sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})
    names = list(dict.fromkeys(one.operation for one, _ in values))
    figure, (axes,) = panels(1, 2.7, title)
    axes.set_yscale("log")
    width = 0.84 / len(sizes)
    for k, (size, (color, hatch)) in enumerate(zip(sizes, SIZE_LOOKS, strict=False)):
        row = {one.operation: value for one, value in values if one.size == size}
        at = [names.index(name) + (k - (len(sizes) - 1) / 2) * width for name in row]
        drawn: dict[str, Any] = {
            "color": color,
            "hatch": hatch,
            "edgecolor": "black",
            "linewidth": 0.5,
        }
        heights = [value - 1 for value in row.values()]
        axes.bar(at, heights, width, bottom=1, label=f"{short_size(size)} elements", **drawn)
        for x, value in zip(at, row.values(), strict=True):
            _number_at_the_end(axes, x, value)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.grid(False, axis="x")
    axes.margins(y=0.12)
    axes.set_ylabel(what)
    ticks(axes.yaxis, lambda value: f"{value:g}")
    legend(figure, axes)
    return figure


def _number_at_the_end(axes: Axes, x: float, value: float) -> None:
    """Above a bar that rises from 1, below one that hangs from it."""
    number = f"{value:.2g}" if value < 9.95 else f"{value:.0f}"
    up = value >= 1
    place: dict[str, Any] = {"ha": "center", "va": "bottom" if up else "top", "fontsize": 6.5}
    offset = (0, 1.5 if up else -1.5)
    axes.annotate(number, (x, value), offset, textcoords="offset points", **place)


def _traffic(found: list[Measurement], title: str) -> Figure:
    rows: dict[str, dict[str, float]] = {}
    for one in found:
        row = rows.setdefault(one.operation, {"must move": one.bytes / one.size})
        row[one.path] = (one.moved or 0) / one.size
    paths = order(path for row in rows.values() for path in row)
    figure, (axes,) = panels(1, 0.5 + 0.17 * sum(map(len, rows.values())), title)
    grouped(axes, rows, paths, lambda value: f"{value:.3g}")
    axes.set_xlabel("bytes an element, read and written")
    legend(figure, axes)
    return figure
