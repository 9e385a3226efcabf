"""Formulas as docstrings have them, readable in an editor, turned into LaTeX.

    m = b1 m + (1 - b1) g              mhat = m / (1 - b1^t)

A space multiplies, and binds closer than `/`, whose right side is one factor; `^` is a power, `_`
an index, `xhat` and `mbar` wear what they are called. Greek letters have their names, `sum over j
of` its index below, and other words stay words. `formula_layout.py` has blocks of several lines,
and equations within a text.
"""

from __future__ import annotations

import re

from .formula_words import (
    ASSIGNS,
    CLOSING,
    FUNCTIONS,
    OPERATORS,
    PHRASES,
    PROSE,
    RELATIONS,
    SIGNS,
    FormulaError,
    Token,
    name,
    tokens,
    words,
)


def cell(text: str) -> tuple[str, bool]:
    """LaTeX with `&` before the first sign that relates two sides, and whether there is one."""
    read = _Cell(text)
    return read.latex(), read.relation is not None


def inline(text: str) -> str:
    """One formula in a line of text."""
    return plain(cell(text)[0])


def plain(latex: str) -> str:
    return re.sub(r"(?<!\\)&", "", latex, count=1)


class _Cell:
    """A cell of a line, read from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.at = text, tokens(text), 0
        self.relation: int | None = None
        """How many pieces stand before its first sign that relates two sides."""

    def latex(self) -> str:
        found = self.sequence(None)
        if self.at < len(self.tokens):
            raise FormulaError(f"{self.tokens[self.at].text!r} opens nowhere: {self.text!r}")
        return found

    def peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def next(self) -> Token:
        if self.at >= len(self.tokens):
            raise FormulaError(f"something is missing at the end: {self.text!r}")
        self.at += 1
        return self.tokens[self.at - 1]

    def sequence(self, end: str | None) -> str:
        """Factors, signs and words until `end`."""
        done: list[str] = []
        run: list[str] = []
        spoken: list[str] = []

        def flush() -> None:
            if spoken:
                before = " " if done and not done[-1].startswith("&") else ""
                following = self.peek()
                after = " " if following and following.text not in (",", ";", ":", ")") else ""
                done.append(words(f"{before}{' '.join(spoken)}{after}"))
            done.extend([r"\,".join(run)] if run else [])
            spoken.clear()
            run.clear()

        while (token := self.peek()) and token.text != end:
            if token.text == "/":
                self.next()
                if not run:
                    raise FormulaError(f"nothing stands over the '/' of {self.text!r}")
                over = _bare(r"\,".join(run))
                run[:] = [f"\\frac{{{over}}}{{{_bare(self.factor())}}}"]
            elif token.text in RELATIONS or token.text in SIGNS:
                flush()
                self.next()
                if token.text in RELATIONS:
                    sign = RELATIONS[token.text]
                    if self.relation is None and end is None and token.text in ASSIGNS:
                        sign, self.relation = f"&{sign}", len(done)
                    done.append(sign)
                else:
                    done.append(SIGNS[token.text])
            elif token.text in ")]}":
                raise FormulaError(f"{token.text!r} closes nothing: {self.text!r}")
            elif self.is_phrase():
                flush()
                done.append(self.phrase(self.next().text))
            elif self.is_prose(end):
                if run:
                    flush()
                spoken.append(self.next().text)
            else:
                if spoken:
                    flush()
                run.append(self.factor())
        flush()
        return " ".join(done)

    def is_phrase(self) -> bool:
        """`sum over j of`, `sum of`, `mean of`: what follows is added up."""
        token, after = self.peek(), self.after(1)
        said = token and token.text in PHRASES and after and after.kind != "sign"
        return bool(said) or bool(
            token and token.text == "sum" and after and after.text == "(" and after.apart
        )

    def is_prose(self, end: str | None) -> bool:
        """A word of English, and no name of a variable."""
        token, after = self.peek(), self.after(1)
        assert token
        if not self.is_word(0):
            return False
        if token.text in PROSE:
            return not (token.text == "a" and not self.is_word(1) and not self.is_word(-1))
        return self.is_word(1) or self.is_word(-1) or (after is not None and after.text == ":")

    def is_word(self, further: int) -> bool:
        token, after = self.after(further), self.after(further + 1)
        if token is None or token.kind != "name" or token.text in FUNCTIONS or token.text == "sqrt":
            return False
        if token.text in OPERATORS and after and after.text == "(":
            return False
        if token.text in PHRASES:
            return False
        return token.text in PROSE or name(token.text) is None

    def after(self, further: int) -> Token | None:
        at = self.at + further
        return self.tokens[at] if 0 <= at < len(self.tokens) else None

    def factor(self) -> str:
        """An atom, and what is written close to it: a call, a power, an index, a prime."""
        token = self.peek()
        if token and token.text in FUNCTIONS and self.is_applied():
            return f"\\{self.next().text} {self.factor()}"
        if self.is_phrase():
            return f"{self.phrase(self.next().text)} {self.factor()}"
        found = self.atom()
        while token := self.peek():
            if token.text == "^":
                self.next()
                sign = "-" if self._is("-") and self.next() else ""
                found = f"{{{found}}}^{{{sign}{_bare(self.exponent())}}}"
            elif token.text == "_(":
                self.next()
                found = f"{found}_{{{self.sequence(')')}}}"
                self.close(")")
            elif token.text == ".T":
                self.next()
                found = f"{{{found}}}^\\top"
            elif token.text == "'":
                self.next()
                found += "'"
            elif token.text in ("(", "[") and not token.apart:
                found += self.atom()
            else:
                break
        return found

    def exponent(self) -> str:
        token, found = self.peek(), self.atom()
        after = self.peek()
        called = (
            token and token.text in OPERATORS and after and after.text == "(" and not after.apart
        )
        return found + self.atom() if called else found

    def is_applied(self) -> bool:
        """A function without parentheses: log p."""
        after = self.after(1)
        return after is not None and after.kind in ("name", "number", "digits")

    def atom(self) -> str:
        token = self.next()
        text = token.text
        if text == "sqrt" and self._is("("):
            return f"\\sqrt{{{_bare(self.atom())}}}"
        if text == "-":  # of a factor: 2^-19, x / -y
            return f"-{self.atom()}"
        if text in CLOSING:
            return self.group(text)
        if token.kind == "name":
            return self.named(text)
        if token.kind == "quote":
            return words(text) if text[0] == '"' else f"\\texttt{{{words(text[1:-1])[6:-1]}}}"
        if token.kind == "number" or token.kind == "digits":
            number = text.replace(",", "{,}")
            following = self.peek()
            close = following and following.kind == "name" and not following.apart
            return f"{number} {self.factor()}" if close else number
        if text == "...":
            return r"\dots"
        raise FormulaError(f"{text!r} stands where a factor belongs: {self.text!r}")

    def named(self, text: str) -> str:
        if text in FUNCTIONS:
            return f"\\{text}" if text != "erf" else r"\operatorname{erf}"
        if text in OPERATORS and len(text) > 1:
            return f"\\operatorname{{{text}}}"
        return name(text) or f"\\mathrm{{{text}}}"

    def phrase(self, text: str) -> str:
        """sum over j of x; sum of x: up to the x, which follows."""
        found = PHRASES[text]
        if self._is("over"):
            self.next()
            index = []
            while not self._is("of"):
                index.append(self.next().text)
            short = len(index) == 1 and name(index[0])
            found += f"_{{{short or words(' '.join(index))}}}"
        if self._is("of"):
            self.next()
        return found

    def group(self, opening: str) -> str:
        inner = self.sequence(CLOSING[opening])
        self.close(CLOSING[opening])
        left, right = opening, CLOSING[opening]
        if opening in ("|", "||"):
            left, right = (r"\lvert", r"\rvert") if opening == "|" else (r"\lVert", r"\rVert")
            return f"{left} {inner} {right}"
        if opening == "{":
            left, right = r"\{", r"\}"
        tall = any(each in inner for each in (r"\frac", r"\sqrt", r"\sum"))
        return f"\\left{left}{inner}\\right{right}" if tall else f"{left}{inner}{right}"

    def close(self, text: str) -> None:
        if not self._is(text):
            raise FormulaError(f"{text!r} is missing: {self.text!r}")
        self.next()

    def _is(self, text: str) -> bool:
        token = self.peek()
        return token is not None and token.text == text


def _bare(latex: str) -> str:
    """Without the parentheses around all of it: a fraction and a root need none."""
    inner = latex.removeprefix(r"\left").removeprefix("(")
    if inner == latex or not latex.endswith(")"):
        return latex
    inner = inner[:-1].removesuffix(r"\right")
    depth = 0
    for letter in inner:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return latex
    return inner if depth == 0 else latex
