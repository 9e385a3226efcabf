"""What lies in memory where a rule steps arrays of other formats than its own, and how it is read.

`Layout` writes the statements of such a step once, in words that Python and C read alike; engines
put them into loops and kernels of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..rule import Rule
from . import bfloat16, eight_bit, noise
from .words import PRIMITIVES

FLOAT32, BFLOAT16, EIGHT_BIT = "float32", "bfloat16", "8bit"
FORMATS = FLOAT32, BFLOAT16, EIGHT_BIT
"""What a state may be kept in."""

FORMULAS = (
    bfloat16.widened, bfloat16.rounded, bfloat16.joined, bfloat16.upper_half, bfloat16.lower_half,
    eight_bit.largest, eight_bit.scale_of, eight_bit.kept_of, eight_bit.factor_of,
    eight_bit.unsigned, eight_bit.signed, eight_bit.unsigned_code, eight_bit.signed_code,
    noise.pace, noise.start, noise.upper, noise.lower,
)  # fmt: skip
"""The functions that statements call, besides `word`, which widens what an array holds."""

Statement = tuple[str, str]
"""What is written, and the expression for it."""


class Layout(NamedTuple):
    """How the arrays of a call are kept.

    Attributes:
        rule: by which they are stepped.
        param: "float32", or "bfloat16" with a remainder beside it.
        grad: "float32" or "bfloat16".
        states: the format of each state of the rule.
    """

    rule: Rule
    param: str
    grad: str
    states: tuple[str, ...]

    def __hash__(self) -> int:
        return hash((id(self.rule), *self[1:]))

    @property
    def name(self) -> str:
        """What kernels and errors call it: formats of the parameter, the gradient, the states."""
        formats = self.param, self.grad, *self.states
        return "_".join([self.rule.name.replace("-", "_"), *(_SHORT[each] for each in formats)])

    def arrays(self) -> dict[str, str]:
        """The dtype of each array of a call, in order, by the name that statements have for it."""
        found = {"p_at": _STORED[self.param]}
        if self.param == BFLOAT16:
            found["p_rest_at"] = "int16"
        found["g_at"] = _STORED[self.grad]
        for name, kind in self._states():
            found[f"{name}_at"] = _STORED[kind]
            if kind == EIGHT_BIT:
                found[f"{name}_scales"] = "float32"
        return found

    @property
    def in_blocks(self) -> tuple[str, ...]:
        """The states in 8 bits."""
        return tuple(name for name, kind in self._states() if kind == EIGHT_BIT)

    def blocks(self) -> list[Statement]:
        """At the beginning of block `b`: what the codes of its states are multiplied by."""
        return [(f"{name}_scale", f"{name}_scales[b]") for name in self.in_blocks]

    def pairs(self) -> int:
        """How many words of noise an element takes."""
        return (len(self.rule.updated) + 1) // 2 if self._noisy() else 0

    def words(self) -> list[Statement]:
        """The pace and start of each word, of `block`, the number of a block as a word."""
        found, of = [], "block"
        for k in range(self.pairs()):
            found += [(f"pace{k}", f"pace({of}, key0)"), (f"start{k}", f"start(pace{k}, key1)")]
            of = f"start{k}"
        return found

    def loads(self) -> list[Statement]:
        """The numbers of element i."""
        p = "joined(word(p_at[i]), word(p_rest_at[i]))" if self.param == BFLOAT16 else "p_at[i]"
        g = "widened(word(g_at[i]))" if self.grad == BFLOAT16 else "g_at[i]"
        found = [("p", p), ("g", g)]
        for name, kind in self._states():
            read = f"{name}_at[i]"
            if kind == BFLOAT16:
                read = f"widened(word({read}))"
            elif kind == EIGHT_BIT:
                read = f"{self._sign(name)}(word({read}), {name}_scale)"
            found.append((name, read))
        return found

    def stores(self) -> list[Statement]:
        """What becomes of them at once: all but the states in 8 bits."""
        found = [("p_at[i]", "p")]
        if self.param == BFLOAT16:
            found = [("p_at[i]", "upper_half(p)"), ("p_rest_at[i]", "lower_half(p)")]
        for name, kind in self._states():
            if kind != EIGHT_BIT:
                value = f"rounded({name}, {self._noise(name)})" if kind == BFLOAT16 else name
                found.append((f"{name}_at[i]", value))
        return found

    def block_ends(self) -> list[Statement]:
        """At the end of block `b`, when the bits of each largest value are known."""
        found = []
        for name in self.in_blocks:
            most = f"{name}_most"
            found += [(f"{name}_scales[b]", f"scale_of({most})")]
            found += [
                (f"{name}_factor", f"factor_of({most})"),
                (f"{name}_kept", f"kept_of({most})"),
            ]
        return found

    def code(self, name: str, value: str) -> Statement:
        """The code of element i, from the new value of a state."""
        made = f"{self._sign(name)}_code({value}, {name}_factor, {name}_kept, {self._noise(name)})"
        return f"{name}_at[i]", made

    def _noise(self, name: str) -> str:
        k = self.rule.updated.index(name)
        return f"{'lower' if k % 2 else 'upper'}(word{k // 2})"

    def _sign(self, name: str) -> str:
        return "unsigned" if name in self.rule.unsigned else "signed"

    def _noisy(self) -> bool:
        return any(kind != FLOAT32 for kind in self.states)

    def _states(self) -> Iterator[tuple[str, str]]:
        return zip(self.rule.state, self.states, strict=True)


_STORED = {FLOAT32: "float32", BFLOAT16: "uint16", EIGHT_BIT: "uint8"}
_SHORT = {FLOAT32: "f32", BFLOAT16: "b16", EIGHT_BIT: "q8"}

TAKEN = frozenset(each.__name__ for each in (*FORMULAS, *PRIMITIVES)) | {"word", "block"}
"""Names that a rule's coefficients can't have."""
