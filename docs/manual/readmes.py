"""Parts of the repository's own READMEs as parts of pages, so that nothing is written twice.

    <!-- include: kernels/state_formats/README.md; When to use which; Measured -->

in a page stands for these sections of that file (all of it where none is named), whose links lead
to pages of the manual where there is one, else to the file. Tables that list a folder's files are
left out. `<!-- course -->` stands for the course.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from . import tables
from .course import course
from .gallery import ROOT
from .reference import resolve

PAGES = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "bench/README.md": "benchmarks",
    "examples/README.md": "course",
    "kernels/state_formats/README.md": "state_formats",
    "nets/estimators/README.md": "estimators",
    "nets/optimizers/README.md": "optimizers",
    "nets/parallel/README.md": "ranks",
    "tests/proving/README.md": "proven",
    "tests/proving/roofline/README.md": "roofline",
}
"""A document of the repository -> the page that has what it says."""
INCLUDE = re.compile(r"^<!-- include: ([\w./-]+)(?:; (.*?))? -->$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(?<![\[`\w])`([A-Za-z_][\w.]*(?:\(\))?)`(?![\]`])")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def connect(app: Any) -> None:
    def read(app: Any, page: str, source: list[str]) -> None:
        source[0] = expanded(source[0], note=app.env.note_dependency)

    app.connect("source-read", read)


def expanded(text: str, note: Any = lambda path: None) -> str:
    """A page with what it includes."""

    def included(found: re.Match[str]) -> str:
        file = ROOT / found[1]
        note(str(file))
        wanted = [" ".join(title.split()) for title in (found[2] or "").split(";") if title.strip()]
        return "\n".join(sections(file.read_text(encoding="utf-8"), wanted, file))

    text = with_links_to_names(tables.expanded(INCLUDE.sub(included, text)))
    return re.sub(r"^<!-- course -->$", lambda _: course(), text, flags=re.MULTILINE)


def with_links_to_names(text: str) -> str:
    """Public names between backticks lead to their pages, but in code, tables and titles."""

    def link(found: re.Match[str]) -> str:
        full = resolve(found[1])
        return f"[`{found[1]}`](reference/{full}.rst)" if full else found[0]

    lines, fenced = [], False
    for line in text.split("\n"):
        fenced ^= line.startswith(("```", ":::"))
        plain = not fenced and not line.startswith(("|", "#", "    ", "<!--"))
        lines.append(NAME.sub(link, line) if plain else line)
    return "\n".join(lines)


def sections(text: str, wanted: list[str], file: Path) -> list[str]:
    """The chosen sections, in the order asked for.

    Raises:
        LookupError: there is no such section.
    """
    parts = dict(_sections(text))
    if missing := [title for title in wanted if title not in parts]:
        raise LookupError(
            f"{file} has no section {missing[0]!r}; it has {', '.join(map(repr, parts))}"
        )
    chosen = wanted or [title for title in parts if title]
    before = [] if wanted else [parts[""]]
    return [
        linked(without_file_tables(each), file)
        for each in (*before, *map(parts.get, chosen))
        if each
    ]


def _sections(text: str) -> list[tuple[str, str]]:
    """(title, text with its heading) of each; first what stands before them, without the title."""
    first, *others = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    found = [("", re.sub(r"^# .*\n", "", first))]
    return [*found, *((each[3:].partition("\n")[0], each) for each in others)]


def without_file_tables(text: str) -> str:
    return re.sub(r"^\| file \|.*\n(?:\|.*\n)+", "", text, flags=re.MULTILINE)


def linked(text: str, file: Path) -> str:
    """With links as they are right from a page in docs/."""

    def link(found: re.Match[str]) -> str:
        said, target = found[1], found[2]
        if re.match(r"https?:|#|mailto:", target):
            return found[0]
        path, anchor, part = target.partition("#")
        real = (file.parent / path).resolve()
        inside = os.path.relpath(real, ROOT)
        if inside in PAGES:
            return f"[{said}]({PAGES[inside]}.md{anchor}{part})"
        if real.is_file():
            return f"[{said}](../{inside})"
        return f"{said} (`{inside}`)"

    return LINK.sub(link, text)
