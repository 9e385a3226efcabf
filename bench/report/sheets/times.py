"""The sheets of times: a row a workload that compares ours, or a row a path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ...measuring.measurement import Measurement
from ..ratios import ratios_of
from ..record import Report
from ..words import short_ratio, short_seconds
from .busy import busy
from .estimators import estimators
from .ranks import ranks
from .sheet import Sheet, once
from .state_formats import state_formats

COMPARED = ("steps", "batch-norm", "norms", "elementwise")
"""Sections with a row a workload, that compares ours; the others have a row a path."""


def times(report: Report) -> Iterator[Sheet]:
    """For each section, dtype and device its sheet; the compared ones with a detailed one more."""

    def place(found: Measurement) -> tuple[str, str, str]:
        return found.section, found.dtype, found.device

    places = dict.fromkeys(map(place, report.measurements))
    for section in dict.fromkeys(section for section, _, _ in places):
        for here in (one for one in places if one[0] == section):
            works = _by_operation(
                paths for paths in report.workloads() if place(next(iter(paths.values()))) == here
            )
            title = ", ".join(word for word in here if word)
            if section == "busy":
                yield busy(title, works)
            elif section == "estimators":
                yield from estimators(title, works, report)
            elif section == "ranks":
                yield from ranks(title, works, report)
            elif section == "state-formats":
                yield state_formats(title, works)
                detail = _by_path(f"{section} paths", f"{title}: every path", works)
                yield replace(detail, detail=True)
            elif section in COMPARED:
                yield _compared(section, title, works)
                detail = _by_path(f"{section} paths", f"{title}: every path", works)
                yield replace(detail, detail=True)
            else:
                yield _by_path(section, title, works)


def _by_operation(works: Iterable[dict[str, Measurement]]) -> list[dict[str, Measurement]]:
    """The workloads of each operation together, in the order in which operations came first."""
    groups: dict[str, list[dict[str, Measurement]]] = {}
    for paths in works:
        groups.setdefault(next(iter(paths.values())).operation, []).append(paths)
    return [paths for group in groups.values() for paths in group]


def _compared(section: str, title: str, works: list[dict[str, Measurement]]) -> Sheet:
    what = ("rule", "size") if section == "steps" else ("operation", "shape")
    columns = (*what, "time", "GB/s", "of\nlimit", "over\narray", "over best\npeer")
    rows = []
    for one in filter(None, map(ratios_of, works)):
        ours = one.ours
        rows.append(
            (
                ours.operation,
                ours.label,
                short_seconds(ours.timing.median),
                _rate(ours),
                "" if one.share is None else f"{one.share:.0%}",
                short_ratio(one.gain),
                short_ratio(one.against_peer),
            )
        )
    return Sheet(section, title, columns, once(rows), words=2)


def _by_path(section: str, title: str, works: list[dict[str, Measurement]]) -> Sheet:
    rows = []
    for paths in works:
        one = ratios_of(paths)
        for name, found in paths.items():
            other = one is not None and one.ours is not found
            beside = found.timing.median / one.ours.timing.median if one and other else None
            rows.append(
                (
                    found.operation,
                    found.label,
                    name,
                    short_seconds(found.timing.median),
                    short_ratio(beside),
                    _rate(found),
                )
            )
    columns = ("operation", "label", "path", "time", "beside\nours", "GB/s")
    return Sheet(section, title, columns, once(rows, 2), words=3)


def _rate(found: Measurement) -> str:
    return f"{found.rate:.1f}" if found.bytes else ""
