"""The picture of a search of hyperparameters."""

from __future__ import annotations

from importlib import import_module
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from ..types import HostArray
from .scales import OneMinusLogUniform
from .search import search_table, searches_of

_MARKERS = "os^DvP"


class Column(NamedTuple):
    """What is drawn along one axis."""

    label: str
    values: list[Any]
    logarithmic: bool


def plot_search(search: Any, x: str, y: str | None = None, axes: Any = None) -> Any:
    """Draw the points of a search: the darker and larger, the better; the best one in a ring.

    Args:
        search: a fitted search, a list of them, or what `coarse_to_fine` returned; each round has
            its own marker.
        x, y: names of hyperparameters, those of a step of a Pipeline also without the step's name.
            Without y, the score is drawn over x. What was drawn log-uniformly has a logarithmic
            axis; of `one_minus_log_uniform`, 1 - value is drawn on one.
        axes: one of matplotlib's Axes to draw on; a new figure's by default.

    Returns:
        The axes.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: x or y is no hyperparameter of the search, or no point has a score.
        NotFittedError: a search is not fitted.
    """
    try:
        pyplot = import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ImportError('plot_search needs matplotlib: pip install "onepass[plot]"') from error
    searches = searches_of(search)
    rows = [row for row in search_table(searches) if isfinite(row["score"])]
    if not rows:
        raise ValueError("no point of the search has a score; expected at least one to draw")
    scores = np.array([row["score"] for row in rows])
    across = _column(searches, rows, x)
    up = Column("score", list(scores), False) if y is None else _column(searches, rows, y)
    if axes is None:
        axes = pyplot.subplots(figsize=(5.5, 4), layout="constrained")[1]
    shades = _shades(scores)
    for number in sorted({row["round"] for row in rows}):
        at = [k for k, row in enumerate(rows) if row["round"] == number]
        drawn = axes.scatter(
            [across.values[k] for k in at],
            [up.values[k] for k in at],
            c=scores[at],
            s=20 + 60 * shades[at],
            marker=_MARKERS[(number - 1) % len(_MARKERS)],
            cmap="gray_r",
            vmin=_floor(scores),
            vmax=scores.max(),
            edgecolors="black",
            linewidths=0.6,
            label=f"round {number}",
        )
    best = int(scores.argmax())
    ring = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.2, "s": 260}
    axes.scatter(across.values[best], up.values[best], label=f"best, {scores[best]:.4g}", **ring)
    axes.set(xlabel=across.label, ylabel=up.label)
    for axis, column in (("x", across), ("y", up)):
        if column.logarithmic:
            getattr(axes, f"set_{axis}scale")("log")
    if y is not None:
        axes.figure.colorbar(drawn, ax=axes, label="score", extend="min")
    axes.grid(alpha=0.3)
    legend = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False, "columnspacing": 1}
    axes.legend(ncols=min(4, len({row["round"] for row in rows}) + 1), **legend)
    return axes


def _column(searches: list[Any], rows: list[dict[str, Any]], name: str) -> Column:
    """The values of a hyperparameter, as they are to be drawn."""
    names = list(searches[0].cv_results_["params"][0])
    found = [full for full in names if name in (full, full.rpartition("__")[2])]
    if len(found) != 1:
        raise ValueError(f"{name!r} is no hyperparameter; expected {', '.join(map(repr, names))}")
    values = [row[found[0]] for row in rows]
    box = getattr(searches[0], "param_distributions", {}).get(found[0])
    if isinstance(box, OneMinusLogUniform):
        return Column(f"1 - {name}", [1 - value for value in values], True)
    if not all(isinstance(value, (int, float, np.number)) for value in values):
        return Column(name, [str(value) for value in values], False)
    kind = getattr(getattr(box, "dist", None), "name", "")
    return Column(name, values, kind in ("loguniform", "reciprocal"))


def _floor(scores: HostArray) -> float:
    """The median: were the worst points told apart too, the good ones would all be black."""
    low, high = float(np.median(scores)), float(scores.max())
    return low if low < high else high - 1


def _shades(scores: HostArray) -> HostArray:
    """0 for the worse half, 1 for the best."""
    low = _floor(scores)
    return np.clip((scores - low) / (scores.max() - low), 0, 1)
