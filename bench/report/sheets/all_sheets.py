"""The list of every sheet of a report; the short ones are made here."""

from __future__ import annotations

from ..record import Report
from ..words import short_seconds
from .causes import causes, traffic
from .growth import break_even_points, exponents
from .sheet import Sheet, without_empty_columns
from .times import times


def sheets(report: Report) -> list[Sheet]:
    """Every table of a report; no table and no column is empty."""
    found = [*times(report), traffic(report), *causes(report), _curves(report)]
    found += [*exponents(report), break_even_points(report), _figures(report), _skipped(report)]
    return [without_empty_columns(sheet) for sheet in found if sheet.rows]


def _curves(report: Report) -> Sheet:
    rows = [
        (
            curve.data,
            curve.path,
            str(curve.batch),
            str(len(curve.loss)),
            f"{curve.loss[-1]:.3g}",
            f"{curve.test_accuracy[-1]:.2%}",
            short_seconds(sum(curve.seconds)),
        )
        for curve in report.curves
        if curve.loss and curve.test_accuracy
    ]
    columns = ("data", "path", "batch", "epochs", "loss", "test accuracy", "time")
    return Sheet("curves", "Training runs", columns, rows, words=2)


def _figures(report: Report) -> Sheet:
    rows = []
    for one in report.figures:
        sign, need = ("<=", one["at_most"]) if "at_most" in one else (">=", one.get("at_least"))
        wanted = ("", "") if need is None else (f"{sign} {need}", "yes" if one["reached"] else "NO")
        rows.append((str(one["figure"]), f"{one['value']:.2f}", *wanted))
    columns = ("figure", "value", "must be", "reached")
    return Sheet("figures", "Promised figures", columns, rows)


def _skipped(report: Report) -> Sheet:
    by_reason: dict[str, list[str]] = {}
    for one in report.skipped:
        by_reason.setdefault(one.reason, []).append(f"{one.section}: {one.path}")
    rows = [(", ".join(dict.fromkeys(names)), reason) for reason, names in by_reason.items()]
    return Sheet("skipped", "Skipped", ("path", "why"), rows, words=2)
