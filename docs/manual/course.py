"""The course: each technique with its formula set, the line to type, where it is, and a picture."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .formula_words import FormulaError
from .formulas import inline
from .gallery import ROOT
from .reference import resolve

FILE = ROOT / "examples" / "README.md"
COLUMNS = ("row", "technique", "formula", "where", "example", "test")
PICTURES = {
    "V1": "plots/2026-11-21-cpu-intel-xeon-2-cores-vectorize-float32-cpu",
    "V2": "plots/2026-11-21-cpu-intel-xeon-2-cores-time-float32-cpu",
    "N5": "gallery/activation_histograms",
    "R3": "gallery/batch_norm",
    "O4": "gallery/optimizer_paths",
    "O7": "gallery/optimizer_paths",
    "O8": "gallery/optimizer_paths",
    "O9": "gallery/optimizer_paths",
    "O11": "gallery/schedules",
    "O15": "gallery/schedules",
    "B3": "gallery/batch_norm",
    "T2": "gallery/random_search",
    "T3": "gallery/random_search",
}
"""Of rows that name no example which draws them."""


def course() -> str:
    """The page's text in Markdown, the block that examples run after first."""
    text = FILE.read_text(encoding="utf-8").partition("## The course\n")[2].strip()
    return "\n".join(_lines(text))


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        cells = line.strip("| ").split(" | ")
        if line.startswith("### "):
            yield f"## {line[4:]}"
        elif not line.startswith("|"):
            yield line
        elif len(cells) == len(COLUMNS) and cells[0] != "row" and not line.startswith("|---"):
            yield from row(dict(zip(COLUMNS, cells, strict=True)))


def row(cells: dict[str, str]) -> Iterator[str]:
    """One technique."""
    yield from (f"### {cells['row']}: {cells['technique']}", "", formula(cells["formula"]), "")
    example = cells["example"].strip("`")
    script = re.fullmatch(r"python examples/(\w+)\.py", example)
    yield from ("```console" if script else "```python", example, "```", "")
    yield from (f"Where: {linked(cells['where'])}. Held by: {cells['test']}.", "")
    drawn = re.search(r"examples/(\w+)\.py", cells["example"] + cells["where"])
    picture = f"gallery/{drawn[1]}" if drawn else PICTURES.get(cells["row"])
    if picture:
        yield from (
            f"```{{image}} {picture}.png",
            f":alt: {cells['technique']}",
            ":width: 60%",
            "```",
            "",
        )
        if picture.startswith("gallery"):
            yield from (f"[How it is drawn]({picture}.rst)", "")


def formula(text: str) -> str:
    """Its equations set, each part on its own, so that lines break between them."""
    return "; ".join(", ".join(_part(part) for part in _parts(each)) for each in text.split("; "))


def _parts(text: str) -> list[str]:
    """Split at commas outside of parentheses."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [part.strip() for part in found]


def _part(text: str) -> str:
    if not re.search(r"[=^/()<]| [-+] ", text) or "`" in text:
        return text
    try:
        return f"${inline(text)}$".replace("\\frac", "\\dfrac")
    except FormulaError:
        return text


def linked(cell: str) -> str:
    """With links to the pages of public names."""

    def link(found: re.Match[str]) -> str:
        full = resolve(found[1])
        return f"[`{found[1]}`](reference/{full}.rst)" if full else found[0]

    return re.sub(r"`(?:onepass\.)?((?:kernels\.)?\w+)`", link, cell)
