"""What formulas are spelled with: letters, functions, relations, English; and their tokens."""

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
    "a", "above", "after", "all", "and", "as", "at", "before", "by", "each", "else", "elsewhere",
    "for", "from", "if", "in", "is", "later", "not", "nothing", "of", "on", "or", "over", "than",
    "the", "then", "to", "too", "until", "up", "where", "while", "with",
}  # fmt: skip
"""Words that are never a variable; any other is one if it stands alone."""
CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|", "||": "||"}
ESCAPED = {"%": r"\%", "#": r"\#", "&": r"\&", "$": r"\$", "{": r"\{", "}": r"\}"}
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
    """As text within mathematics, where MathJax takes an underscore for itself."""
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
