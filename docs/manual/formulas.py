"""Formulas as docstrings have them, readable in an editor, turned into LaTeX.

    m = b1 m + (1 - b1) g              mhat = m / (1 - b1^t)

A space multiplies, and binds closer than `/`, whose right side is one factor; `^` is a power, `_` an
index, `xhat` and `mbar` wear what they are called; two spaces and more part a line into cells, and a
line further in goes on with the one before. Greek letters have their names, `sum over j of` its
index below, and other words stay words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class FormulaError(ValueError):
    """A block that is no formula: what is wrong with it, and where."""


GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "lambda", "mu", "nu", "pi", "rho",
    "sigma", "tau", "phi", "Phi", "chi", "omega", "Sigma", "Delta",
}  # fmt: skip
FUNCTIONS = {"exp", "log", "tanh", "max", "min", "cos", "sin", "erf"}
OPERATORS = {
    "argmax", "bits", "clip", "f", "floor", "gelu", "loss", "matmul", "mean", "norm", "onehot",
    "sigmoid", "sign", "silu", "softmax", "softplus", "step", "sum", "abs",
}  # fmt: skip
PHRASES = {"sum": r"\sum", "mean": r"\operatorname*{mean}"}
RELATIONS = {
    "=": "=", ":=": r"\mathrel{:=}", "+=": r"\mathrel{+}=", "-=": r"\mathrel{-}=",
    "*=": r"\mathrel{*}=", "->": r"\to", "<=": r"\le", ">=": r"\ge", "<": "<", ">": ">",
}  # fmt: skip
ASSIGNS = {"=", ":=", "+=", "-=", "*="}
SIGNS = {
    "+": "+", "-": "-", "*": r"\cdot", ",": ",", ";": ";\\;", ":": r"\text{:}\ ", ".": r"\cdot",
    "...": r"\dots",
}  # fmt: skip
PROSE = {
    "a", "above", "after", "all", "and", "as", "at", "before", "by", "each", "else", "elsewhere", "for",
    "from", "if", "in", "is", "later", "not", "nothing", "of", "on", "or", "over", "than", "the", "then",
    "to", "too", "until", "up", "where", "while", "with",
}  # fmt: skip
"""Words that are never a variable; any other is one if it stands alone."""
ASIDE = re.compile(r"(where|or|while|with|later|elsewhere|for|until|if)\b|\w+ where\b|\(")
"""How a cell begins that belongs to the one before it, equation or not."""
CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|", "||": "||"}
ESCAPED = {"_": r"\_", "%": r"\%", "#": r"\#", "&": r"\&", "$": r"\$", "{": r"\{", "}": r"\}"}
TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<quote>"[^"]*"|`[^`]*`)
    |(?P<number>\d+(?:,\d{3})+|\d+(?:\.\d+)?(?:e-?\d+)?(?![a-z]))|(?P<digits>\d+)
    |(?P<name>[A-Za-z]{2,}'s\b|[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*)
    |(?P<sign>:=|\+=|-=|\*=|->|<=|>=|\.\.\.|\|\||\.T\b|_\(|[-+*/^=<>()\[\]{}|,;:.'])""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    apart: bool
    """A space stands before it."""


def tokens(text: str) -> list[Token]:
    found, at, apart = [], 0, False
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise FormulaError(f"{text[at]!r} has no place in a formula: {text!r}")
        kind = match.lastgroup or ""
        if kind != "space":
            found.append(Token(kind, match.group(), apart))
        at, apart = match.end(), kind == "space"
    return found


def words(text: str) -> str:
    """As text within mathematics."""
    return "\\text{" + "".join(ESCAPED.get(letter, letter) for letter in text) + "}"


def name(text: str) -> str | None:
    """A variable's name in LaTeX; None of a word."""
    base, low, index = text.partition("_")
    letter = _letter(base)
    if letter is None:
        if not low:
            return None
        if re.fullmatch(r"[ijkrt]|ij|\d+", index):
            return f"\\mathrm{{{base}}}_{{{index}}}"
        return "\\mathrm{" + text.replace("_", r"\_") + "}"
    if not low:
        return letter
    if "_" in index:
        return words(text)
    if index == "max":
        return letter + r"_{\max}"
    plain = len(index) <= 2 and index not in ("in", "out")
    return f"{letter}_{{{index if plain else words(index)}}}"


def _letter(base: str) -> str | None:
    """A letter with whatever it wears: alpha, mhat, dgamma, W1."""
    if base in ("eps", "lr"):
        return r"\varepsilon" if base == "eps" else r"\mathrm{lr}"
    if base in GREEK:
        return f"\\{base}"
    if len(base) == 1:
        return base
    for ending, worn in (("hat", r"\hat"), ("bar", r"\bar")):
        inner = _letter(base.removesuffix(ending)) if base.endswith(ending) else None
        if inner:
            return f"{worn}{{{inner}}}"
    if found := re.fullmatch(r"([A-Za-z]+?)(\d+)", base):
        inner = _letter(found[1])
        return inner and f"{inner}_{{{found[2]}}}"
    if base[0] == "d" and (base[1:] in GREEK or len(base) == 2):
        return f"\\mathrm{{d}}{_letter(base[1:])}"
    return f"{base[0]}_L" if base in ("WL", "bL") else None


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
        return bool(said) or bool(token and token.text == "sum" and after and after.text == "(" and after.apart)

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
        called = token and token.text in OPERATORS and after and after.text == "(" and not after.apart
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


def cell(text: str) -> tuple[str, bool]:
    """LaTeX with `&` before the first sign that relates two sides, and whether there is one."""
    read = _Cell(text)
    return read.latex(), read.relation is not None


def inline(text: str) -> str:
    """One formula in a line of text."""
    return _plain(cell(text)[0])


HEAD = re.compile(
    r"(?<![\w.`\"'=:/^-])(?:\([\w, ]+\)|[A-Za-z]\w*'?(?:\^\d)?(?:\([^()]*\))?) (?:=|-=|\+=|\*=|:=) (?=\S)"
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
        adding = token in PHRASES and not text.startswith("(", at) or (adding and token != "of")
        end, after_word = at, word
    return end


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
                found.append(f"&\\quad {_plain(latex)}" if further else latex)
            else:
                found[-1] += f"\\qquad {_plain(latex)}"
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
        return " & ".join([said, *(_tall(_plain(cell(text)[0])) for text in cells[1:])])

    columns = r"l@{\quad}" * widest
    body = " \\\\[3pt]\n".join(line(*row) for row in rows)
    return f"\\[\\begin{{array}}{{{columns}l}}\n{body}\n\\end{{array}}\\]"


def _plain(latex: str) -> str:
    return re.sub(r"(?<!\\)&", "", latex, count=1)


def _tall(latex: str) -> str:
    return f"\\displaystyle {latex}" if "\\frac" in latex or "\\sum" in latex else latex
