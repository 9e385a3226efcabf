"""A report as one HTML page that needs nothing else: no network, no script, no font, no folder."""

from __future__ import annotations

import io
import re
from html import escape
from pathlib import Path

from ...nets.saving.atomic_write import target_of, write_atomically
from ..report.ratios import ratios
from ..report.record import Report
from ..report.sheets.all_sheets import sheets
from ..report.sheets.sheet import Sheet, largest
from ..report.words import headline, short_range, short_ratio
from .css import CSS
from .looks import style
from .plot import Plot
from .plots import plots

_WORDS = {
    "Limit": "The time of loads and stores alone: the same bytes read and written, without any "
    "arithmetic. A path at 100% of the limit can't become faster on this machine without moving "
    "less memory.",
    "Gain": "The time of array expressions divided by ours, both on the same arrays in the same "
    "run. 10 x means that array expressions take ten times as long; below 1 they are faster.",
    "Peer": "The fastest path of another library for the same work, such as PyTorch's fused step. "
    "Its ratio is the peer's time divided by ours, so above 1 ours is faster.",
}


def write_page(report: Report, path: str | Path) -> None:
    """Write the report as one HTML file, whole or not at all.

    Raises:
        ImportError: matplotlib is missing.
        OSError: the file can't be written.
    """
    drawn, tables = plots(report), sheets(report)
    title = escape(f"onepass bench, {report.mode}, {report.date}")
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{CSS}</style></head><body><main>",
        _headline(report),
        _summary(report, tables),
        _reading(),
        *_plots(drawn, tables),
        _rest(drawn, tables),
        "</main></body></html>\n",
    ]
    write_atomically(target_of(path), "\n".join(parts).encode())


def write_pngs(report: Report, folder: str | Path) -> list[Path]:
    """Write every plot as a PNG file into `folder`, which is made; returns the files.

    Raises:
        ImportError: matplotlib is missing.
        OSError: the folder or a file can't be written.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for plot in plots(report):
        written.append(target / f"{plot.name}.png")
        with style():
            plot.figure.savefig(written[-1], dpi=150)
    return written


def _headline(report: Report) -> str:
    machine = "".join(f"<li>{escape(line)}</li>" for line in report.hardware)
    numbers = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    return (
        f"<header><h1>Benchmarks of onepass</h1><p>{escape(headline(report))}</p>"
        f'<ul>{machine}</ul><p class="soft">{escape(numbers)}</p></header>'
    )


def _summary(report: Report, tables: list[Sheet]) -> str:
    top = largest(report)
    lines: dict[str, dict[str, list[float]]] = {}
    for one in ratios(report):
        if one.ours.section == "steps" and one.ours in top:
            where = f"{one.ours.label} elements, {one.ours.dtype}, {one.ours.device}"
            line = lines.setdefault(where, {})
            for name, value in (("array expressions", one.gain), ("best peer", one.against_peer)):
                if value is not None:
                    line.setdefault(f"time of {name} / ours", []).append(value)
            if one.share is not None:
                line.setdefault("share of the limit", []).append(one.share)
    found = "".join(
        f"<li>{escape(where)}: "
        + escape("; ".join(f"{name} {_ends(name, values)}" for name, values in line.items()))
        + "</li>"
        for where, line in lines.items()
        if line
    )
    shown = "".join(_table(sheet) for sheet in tables if sheet.section == "figures")
    none = '<p class="soft">No promised figures were checked in this run.</p>'
    steps = f"<p>Optimizer steps, smallest to largest over the rules:</p><ul>{found}</ul>"
    return f"<section><h2>Summary</h2>{steps if found else ''}{shown or none}</section>"


def _ends(name: str, values: list[float]) -> str:
    return short_range(values, "{:.0%}".format if name == "share of the limit" else short_ratio)


def _reading() -> str:
    words = "".join(f"<dt>{word}</dt><dd>{escape(said)}</dd>" for word, said in _WORDS.items())
    return f"<section><h2>How to read this</h2><dl>{words}</dl></section>"


def _plots(drawn: list[Plot], tables: list[Sheet]) -> list[str]:
    parts = []
    links = "".join(
        f'<li><a href="#{plot.name}">{escape(plot.name.replace("-", " "))}</a></li>'
        for plot in drawn
    )
    if drawn:
        parts.append(f"<nav><h2>Plots</h2><ul>{links}</ul></nav>")
    for plot in drawn:
        behind = [sheet for sheet in tables if sheet.section in plot.sheets]
        more = f"<details><summary>Numbers</summary>{''.join(map(_table, behind))}</details>"
        parts.append(
            f'<figure id="{plot.name}" data-section="{escape(plot.section)}">'
            f'<div class="card">{_svg(plot)}</div>'
            f"<figcaption>{escape(plot.caption)}</figcaption></figure>{more if behind else ''}"
        )
    return parts


def _rest(drawn: list[Plot], tables: list[Sheet]) -> str:
    """What belongs to no plot; what was skipped comes last."""
    shown = {section for plot in drawn for section in plot.sheets} | {"figures"}
    return "".join(
        f"<section><h2>{'Skipped paths' if sheet.section == 'skipped' else 'More'}</h2>"
        f"{_table(sheet)}</section>"
        for sheet in tables
        if sheet.section not in shown
    )


def _table(sheet: Sheet) -> str:
    def cells(row: tuple[str, ...], tag: str) -> str:
        return "".join(
            f"<{tag}{_class(text, k >= sheet.words)}>{escape(text)}</{tag}>"
            for k, text in enumerate(row)
        )

    head = cells(tuple(column.replace("\n", " ") for column in sheet.columns), "th")
    rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in sheet.rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h3>{escape(sheet.title)}</h3><div class="scroll">{table}</div>'


def _class(text: str, number: bool) -> str:
    names = ["number"] * number + ["miss"] * (text == "NO")
    return f' class="{" ".join(names)}"' if names else ""


def _svg(plot: Plot) -> str:
    """The figure as an element of the page: ids of its own, no comments, no style, no addresses."""
    from matplotlib import rc_context

    file = io.StringIO()
    with style(), rc_context({"svg.hashsalt": plot.name}):
        plot.figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{plot.name}--", text)
    width, height = (72 * inches for inches in plot.figure.get_size_inches())
    label = escape(plot.caption)
    start = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">'
    return start + text[text.index(">") + 1 :]
