"""The plots of training curves: loss and test accuracy against seconds of training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from ..report.record import Curve, Report
from .plot import Plot, legend, line, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_plots(report: Report) -> Iterator[Plot]:
    """A plot for each data set and batch size, with the curves of all paths."""
    runs: dict[tuple[str, int], list[Curve]] = {}
    for curve in report.curves:
        runs.setdefault((curve.data, curve.batch), []).append(curve)
    for (data, batch), curves in runs.items():
        title = f"Training on {data}, batch {batch}"
        caption = f"{title}: the same curve, reached after less time; a point is an epoch."
        figure = _curves(curves, title)
        yield Plot(f"curves {data} {batch}", "curves", caption, figure, ("curves",))


def _curves(curves: list[Curve], title: str) -> Figure:
    """Loss on the left, accuracy on the right.

    The seconds of all epochs so far are the x axis: the evaluation between them does not count.
    """
    figure, (left, right) = panels(2, 2.7, title)
    for curve in curves:
        seconds = list(accumulate(curve.seconds))
        line(left, seconds, curve.loss, curve.path)
        line(right, seconds, curve.test_accuracy, curve.path)
    left.set(xlabel="seconds of training", ylabel="training loss", ylim=(0, None))
    right.set(xlabel="seconds of training", ylabel="test accuracy (part of 1)")
    legend(figure, left)
    return figure
