"""Blocks of formulas as displays, and the equations within a text.

Two spaces and more part a line into cells; a line further in goes on with the one before.
"""

from __future__ import annotations

import re

from .formula_words import FUNCTIONS, OPERATORS, PHRASES, PROSE, TOKEN, FormulaError, name, words
from .formulas import cell, inline, plain

ASIDE = re.compile(r"(where|or|while|with|later|elsewhere|for|until|if)\b|\w+ where\b|\(")
"""How a cell begins that belongs to the one before it, equation or not."""


def display(block: str) -> str:
    """A block of lines as an aligned display.

    Raises:
        FormulaError: it is no formula.
    """
    lines = [line for line in block.splitlines() if line.strip()]
    base = min(len(line) - len(line.lstrip()) for line in lines)
    rows = [(len(line) - len(line.lstrip()) > base, _cells(line)) for line in lines]
    if any(not further and _is_label(cells) for further, cells in rows):
        return _with_labels(rows)
    found: list[str] = []
    for further, cells in rows:
        for k, text in enumerate(cells):
            latex, relates = cell(text)
            if relates and not ASIDE.match(text) and (not further or k or text[0] == "="):
                found.append(latex)
            elif not found or (k == 0 and not ASIDE.match(text)):
                found.append(f"&\\quad {plain(latex)}" if further else latex)
            else:
                found[-1] += f"\\qquad {plain(latex)}"
    rows_of = " \\\\\n".join(row if "&" in row else f"& {row}" for row in found)
    return f"\\begin{{align*}}\n{rows_of}\n\\end{{align*}}"


def _cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def _is_label(cells: list[str]) -> bool:
    first = cells[0]
    return len(cells) > 1 and (first.endswith(":") or re.fullmatch(r'"[^"]*"', first) is not None)


def _with_labels(rows: list[tuple[bool, list[str]]]) -> str:
    """Rows that begin with what they are for."""
    widest = max(len(cells) for _, cells in rows)

    def line(further: bool, cells: list[str]) -> str:
        label, colon, rest = cells[0].partition(": ")
        if colon:
            cells = [label + colon, rest, *cells[1:]]
        head = not colon and len(cells) == widest and "=" not in cells[0]
        if further or not (colon or head or _is_label(cells)):
            cells = ["", *cells]
        said = words(cells[0].strip(" :").replace('"', "")) if cells[0] else ""
        return " & ".join([said, *(_tall(plain(cell(text)[0])) for text in cells[1:])])

    columns = r"l@{\quad}" * widest
    body = " \\\\[3pt]\n".join(line(*row) for row in rows)
    return f"\\[\\begin{{array}}{{{columns}l}}\n{body}\n\\end{{array}}\\]"


def _tall(latex: str) -> str:
    return f"\\displaystyle {latex}" if "\\frac" in latex or "\\sum" in latex else latex


HEAD = re.compile(
    r"(?<![\w.`\"'=:/^-])(?:\([\w, ]+\)|[A-Za-z]\w*'?(?:\^\d)?(?:\([^()]*\))?)"
    r" (?:=|-=|\+=|\*=|:=) (?=\S)"
)
"""How an equation begins in a line of text."""


def in_text(text: str) -> list[tuple[int, int, str]]:
    """Equations within a text: where each begins and ends, and its LaTeX."""
    found, at = [], 0
    while head := HEAD.search(text, at):
        end = at = _end_of_equation(text, head.end())
        try:
            found.append((head.start(), end, inline(text[head.start() : end])))
        except FormulaError:
            at = head.end()
    return found


def _end_of_equation(text: str, at: int) -> int:
    """Before a comma, a full stop or a word of English, outside of parentheses."""
    depth, end, after_word, adding = 0, at, False, False
    while match := TOKEN.match(text, at):
        token, kind, at = match.group(), match.lastgroup, match.end()
        if kind == "space":
            continue
        ends = token in (",", ";", ":", ".", ")", "]")
        if kind == "quote" or (ends and depth == 0):
            break
        depth += (token in ("(", "[", "_(")) - (token in (")", "]"))
        word = kind == "name" and name(token) is None and token not in FUNCTIONS and token != "sqrt"
        if word and depth == 0 and not adding and token not in PHRASES:
            letter = token == "a" and not after_word
            if (token in PROSE and not letter) or (after_word and token not in OPERATORS):
                break
        adding = (token in PHRASES and not text.startswith("(", at)) or (adding and token != "of")
        end, after_word = at, word
    return end
