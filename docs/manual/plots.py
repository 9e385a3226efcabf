"""The plots of committed results, drawn from their JSON files whenever the manual is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onepass.bench.page.looks import look, style
from onepass.bench.page.plots import plots
from onepass.bench.report.record import Report
from onepass.bench.report.words import short_seconds

from .gallery import ROOT
from .tables import MAIN, PATHS, TRAINING, report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = ROOT / "bench" / "results"
DRAWN = {
    MAIN: (
        "time-float32-cpu", "gain-float32-cpu", "peer-float32-cpu", "bytes-float32-cpu",
        "vectorize-float32-cpu",
    ),
    TRAINING: ("training-float32-cpu", "step-parts-float32-cpu", "curves-mnist-128"),
    "2026-11-30-cpu-amd-epyc-2-cores-state-formats": ("state-formats-float32-cpu",),
    "2026-11-30-cpu-intel-xeon-2-cores-estimators": ("estimators-float32-cpu",),
}  # fmt: skip
"""A result file -> the plots of it that pages show."""


def headline(report: Report) -> Figure:
    """Adam on 1e7 parameters by every path: bars, the shortest last."""
    from matplotlib.figure import Figure

    found = [
        one
        for one in report.measurements
        if (one.section, one.operation, one.label, one.dtype) == ("steps", "adam", "1e7", "float32")
    ]
    found.sort(key=lambda one: -one.timing.median)
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(found):
        worn, seconds = look(one.path), one.timing.median
        color = "white" if one.path == "limit" else worn.color
        axes.barh(row, seconds * 1e3, color=color, edgecolor="black", linewidth=0.6)
        axes.text(seconds * 1e3 + 1, row, short_seconds(seconds), va="center", fontsize=9)
    axes.set_yticks(range(len(found)), [PATHS[one.path] for one in found])
    axes.set_xlabel("ms a step")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def write_plots(folder: Path) -> None:
    """Draw each plot into `folder` as <result>-<plot>.png.

    Raises:
        KeyError: a result has no plot of that name.
    """
    folder.mkdir(exist_ok=True)
    with style():
        headline(report(MAIN)).savefig(folder / "headline.png", dpi=160)
    for result, names in DRAWN.items():
        source = RESULTS / f"{result}.json"
        files = [folder / f"{result}-{name}.png" for name in names]
        if all(file.exists() and file.stat().st_mtime > source.stat().st_mtime for file in files):
            continue
        found = {plot.name: plot for plot in plots(report(result))}
        for name, file in zip(names, files, strict=True):
            if name not in found:
                raise KeyError(f"{source.name} has no plot {name!r}; it has {', '.join(found)}")
            with style():
                found[name].figure.savefig(file, dpi=160)
