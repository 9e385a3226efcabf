"""One table of a report, whoever shows it: terminal.py on a terminal, page.py in HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...measuring.measurement import Measurement
from ..record import Report


@dataclass(frozen=True)
class Sheet:
    """One table: cells are ready to print, empty where nothing was measured.

    Attributes:
        section: the part of the report it belongs to.
        words: how many columns, from the left, hold words; the others hold numbers.
        detail: too long for a terminal.
    """

    section: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1
    detail: bool = False


def once(rows: Sequence[tuple[str, ...]], depth: int = 1) -> list[tuple[str, ...]]:
    """`rows` with each run of equal words on the left shown once."""
    shown: list[tuple[str, ...]] = []
    before: tuple[str, ...] = ("",) * depth
    for row in rows:
        same = 0
        while same < depth and row[same] == before[same]:
            same += 1
        shown.append(("",) * same + row[same:])
        before = row[:depth]
    return shown


def without_empty_columns(sheet: Sheet) -> Sheet:
    """The sheet without the columns in which no row has a word."""
    kept = [k for k in range(len(sheet.columns)) if any(row[k] for row in sheet.rows)]
    return replace(
        sheet,
        columns=tuple(sheet.columns[k] for k in kept),
        rows=[tuple(row[k] for k in kept) for row in sheet.rows],
        words=sum(k < sheet.words for k in kept),
    )


def largest(report: Report) -> list[Measurement]:
    """The measurements at the largest size of their section, operation, dtype and device."""
    top: dict[tuple[str, str, str, str], int] = {}
    for one in report.measurements:
        key = (one.section, one.operation, one.dtype, one.device)
        top[key] = max(one.size, top.get(key, 0))
    return [
        one
        for one in report.measurements
        if one.size and one.size == top[one.section, one.operation, one.dtype, one.device]
    ]
