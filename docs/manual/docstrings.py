"""Docstrings of the house, made reStructuredText on their way to a page.

They are plain text with a few conventions: indented blocks are formulas (`formula_layout.py`) or
code, `names` are public names or code, and sections begin with a word and a colon. Napoleon reads
Args, Returns and Example; the others become fields here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from . import formula_layout

SECTION = re.compile(r"([A-Z][A-Za-z ]*):(?: +(.*))?$")
NAPOLEON = ("Args", "Returns", "Example", "Yields", "Args of the call")
FIELDS = ("Attributes", "Raises", "Conventions", "Source")
CODE = re.compile(
    r"^\s*(>>> |with |for |from |import |@|pip |python |mpiexec |onepass |\w+\(.*\)$)"
    r"|^\s*[\w.\[\], ]+ = [\w.]+\([^()]*[=\"\[][^()]*\)",
    re.MULTILINE,
)
SPAN = re.compile(r"(``[^`]+``|`[^`]+`)", re.DOTALL)
Resolve = Callable[[str], str | None]
"""From a name between backticks to the full name of what has a page, or None."""


def to_rst(text: str, resolve: Resolve) -> str:
    """A docstring as reStructuredText."""
    lines = text.expandtabs().splitlines()
    return "\n".join(_lines(lines, resolve))


def is_code(block: str) -> bool:
    """Whether an indented block is a program's or a shell's text, and no formula."""
    return CODE.search(block) is not None


def formula_blocks(text: str) -> Iterator[str]:
    """The blocks of a docstring that are to be formulas."""
    at = 0
    lines = text.expandtabs().splitlines()
    while at < len(lines):
        if SECTION.match(lines[at]) and _name(lines[at]) in (*NAPOLEON, *FIELDS):
            at = _end(lines, at + 1)
        elif lines[at].startswith("    "):
            end = _end_of_block(lines, at)
            block = "\n".join(lines[at:end])
            if not is_code(block):
                yield block
            at = end
        else:
            at += 1


def _lines(lines: list[str], resolve: Resolve) -> Iterator[str]:
    at = 0
    first, paragraph = True, list[str]()

    def spoken() -> Iterator[str]:
        nonlocal first
        yield from _paragraph(paragraph, resolve, first)
        first = first and not paragraph
        paragraph.clear()

    while at < len(lines):
        line = lines[at]
        name = _name(line)
        if name in NAPOLEON:
            yield from spoken()
            end = _end(lines, at + 1)
            yield from ("", f"{'Args' if name == 'Args of the call' else name}:")
            yield from _entries(lines[at + 1 : end], name, resolve)
            at = end
        elif name in FIELDS:
            yield from spoken()
            end = _end(lines, at + 1)
            yield from _field(name, lines[at:end], resolve)
            at = end
        elif line.startswith("    "):
            yield from spoken()
            end = _end_of_block(lines, at)
            yield from ("", *block("\n".join(lines[at:end])), "")
            at = end
        elif not line.strip():
            yield from spoken()
            yield ""
            at += 1
        else:
            paragraph.append(line)
            at += 1
    yield from spoken()


OPTION = re.compile(r"(\"?[a-z_]\w*(?:=\w+)?\"?): +(?=\S)")


def _paragraph(lines: list[str], resolve: Resolve, first: bool) -> Iterator[str]:
    """Text; or a list, where a line begins with an option and a colon, and others likewise."""
    if not lines:
        return
    if first or not OPTION.match(lines[0]):
        yield from prose("\n".join(lines), resolve).split("\n")
        return
    items: list[str] = []
    for line in lines:
        if found := OPTION.match(line):
            items.append(f"`{found[1]}`: {line[found.end() :]}")
        else:
            items[-1] += f" {line}"
    yield from ("", *(f"- {prose(item, resolve)}" for item in items), "")


def block(text: str) -> list[str]:
    """An indented block as a directive."""
    if not is_code(text):
        return [
            ".. math::",
            "   :nowrap:",
            "",
            *(f"   {each}" for each in formula_layout.display(text).split("\n")),
        ]
    lines = text.split("\n")
    base = min(len(each) - len(each.lstrip()) for each in lines if each.strip())
    language = "console" if re.match(r"\s*(pip|python|mpiexec|onepass) ", text) else "python"
    return [f".. code-block:: {language}", "", *(f"   {each[base:]}" for each in lines)]


def prose(text: str, resolve: Resolve) -> str:
    """A paragraph: names and code between backticks set, and nothing else taken for markup."""

    def part(piece: str) -> str:
        if piece.startswith("``"):
            return piece
        if not piece.startswith("`"):
            return _with_formulas(piece)
        said = " ".join(piece.strip("`").split())
        full = resolve(said)
        return f":py:obj:`{said} <{full}>`" if full else f"``{said}``"

    pieces = SPAN.split(text)
    found = ""
    for k, piece in enumerate(pieces):
        here = part(piece)
        if found and k % 2 and re.search(r"[\w.\"'\\]$", found):
            here = f"\\ {here}"
        if k % 2 and k + 1 < len(pieces) and re.match(r"\w", pieces[k + 1]):
            here += "\\ "
        found += here
    return found


def _with_formulas(text: str) -> str:
    """Text without markup, its equations set."""
    found, at = "", 0
    for start, end, latex in formula_layout.in_text(text.replace("\n", " ")):
        found += f"{_plain(text[at:start])}:math:`{latex}`"
        at = end
        if re.match(r"[\w(]", text[at:]):
            found += "\\ "
    return found + _plain(text[at:])


def _plain(text: str) -> str:
    return re.sub(r"([*|\\]|_(?!\w))", r"\\\1", text)


def _name(line: str) -> str:
    found = SECTION.match(line)
    return found[1] if found else ""


def _end(lines: list[str], at: int) -> int:
    """Where what stands further in, or is empty, ends."""
    while at < len(lines) and (not lines[at].strip() or lines[at].startswith("    ")):
        at += 1
    return at


def _end_of_block(lines: list[str], at: int) -> int:
    """Where an indented block ends: at an empty line or at text."""
    while at < len(lines) and lines[at].startswith("    "):
        at += 1
    return at


def _entries(lines: list[str], name: str, resolve: Resolve) -> Iterator[str]:
    """The lines of a section that napoleon reads, their text set."""
    if name == "Example":
        yield from ("", *lines)
        return
    entry = re.compile(r"    ([\w*, /.()]+?): (.*)") if name != "Returns" else re.compile(r"(?!)")
    kept: list[str] = []

    def flush() -> Iterator[str]:
        if kept:
            found = entry.match(kept[0])
            head = f"    {found[1]}: " if found else "    "
            first = found[2] if found else kept[0].strip()
            inside = "        " if found else "    "
            text = prose("\n".join([first, *(each.strip() for each in kept[1:])]), resolve)
            first, *rest = text.split("\n")
            yield head + first
            yield from (inside + each for each in rest)
        kept.clear()

    for line in lines:
        if not line.strip():
            yield from flush()
            yield ""
        elif entry.match(line) and not line.startswith("     "):
            yield from flush()
            kept.append(line)
        else:
            kept.append(line)
    yield from flush()


def _field(name: str, lines: list[str], resolve: Resolve) -> Iterator[str]:
    """Attributes, Raises, Conventions or Source: a field with what was written."""
    first = SECTION.match(lines[0])
    assert first
    yield from ("", f":{name}:")
    if name in ("Attributes", "Raises") and not first[2]:
        entries = (_entry(name, each, resolve) for each in _joined(lines[1:]))
        yield from (f"    - {each}" for each in entries)
    else:
        said = "\n".join(([first[2]] if first[2] else []) + [each.strip() for each in lines[1:]])
        for each in said.strip().split("\n\n"):
            yield from (f"    {line}" for line in prose(each, resolve).split("\n"))
            yield ""
    yield ""


def _joined(lines: list[str]) -> list[str]:
    """Entries of a section, each with the lines that go on further in."""
    found: list[str] = []
    for line in lines:
        if not line.strip():
            continue
        if line.startswith("     ") and found:
            found[-1] += " " + line.strip()
        else:
            found.append(line.strip())
    return found


def _entry(name: str, entry: str, resolve: Resolve) -> str:
    """`TypeError, KernelError: when`, or `loss, metric: what they are`, the names set."""
    names, colon, what = entry.partition(": ")
    if not colon or not re.fullmatch(r"[\w., ()]+", names):
        return prose(entry, resolve)
    if name == "Attributes":
        return f"**{_plain(names)}** -- {prose(what, resolve)}"
    set_names = prose(", ".join(f"`{each.strip()}`" for each in names.split(",")), resolve)
    return f"{set_names}: {prose(what, resolve)}"


def connect(app: Any, resolve: Resolve) -> None:
    """Have Sphinx' autodoc pass every docstring through here, before napoleon."""

    def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = to_rst("\n".join(lines), resolve).split("\n")

    app.connect("autodoc-process-docstring", process, priority=400)
