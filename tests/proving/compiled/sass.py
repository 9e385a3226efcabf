"""NVIDIA's disassembler: what a loop of a kernel's machine code does for each element."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from proving.compiled import ptxas

LOAD, STORE = "LDG", "STG"
_LABEL = re.compile(r"^(\.L_\w+):", re.MULTILINE)
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?P<guard>@!?\w+ )?\s*(?P<code>[A-Z][\w.]*)(.*)")
_TARGET = re.compile(r"`\((\.L_\w+)\)")


class Loop(NamedTuple):
    """One turn of a loop on its common path, without what is called for rare numbers.

    Attributes:
        instructions: how many.
        loads, stores: of global memory, by their bits.
    """

    instructions: int
    loads: Counter[int]
    stores: Counter[int]

    @property
    def loaded(self) -> int:
        """Bytes."""
        return sum(bits * times for bits, times in self.loads.items()) // 8

    @property
    def bytes(self) -> int:
        """Loaded and stored."""
        return self.loaded + sum(bits * times for bits, times in self.stores.items()) // 8


class _Line(NamedTuple):
    code: str
    target: str


class Code(NamedTuple):
    """A kernel's machine code.

    Attributes:
        loops: those that move anything of global memory, in the order of their ends.
        whole: all of it as one turn, without what is called for rare numbers.
        straight: all of it, as if it were one turn.
    """

    loops: tuple[Loop, ...]
    whole: Loop
    straight: Loop

    def first_loop(self, loads: int = 0) -> Loop:
        """The first that stores, or that loads so many bits at a time."""
        found = (loop for loop in self.loops if (loop.loads[loads] if loads else loop.stores))
        loop = next(found, None)
        what = f"loads {loads} bits at a time" if loads else "stores anything"
        assert loop is not None, f"no loop {what}: {self}"
        return loop

    def busiest_loop(self) -> Loop:
        """That whose turn moves most, the shortest of such loops; where none moves anything, the
        whole kernel is one turn."""
        return max(self.loops or [self.whole], key=lambda loop: (loop.bytes, -loop.instructions))


def disassembled(cubin: bytes) -> dict[str, Code]:
    """The machine code of every kernel, by name, as nvdisasm tells it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(cubin)
        command = [ptxas.tool("nvdisasm"), "-c", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, *sections = re.split(r"^\.text\.(\w+):$", done.stdout, flags=re.MULTILINE)
    return {name: code_of(text) for name, text in zip(sections[::2], sections[1::2], strict=True)}


def code_of(text: str) -> Code:
    """The machine code of one kernel, as nvdisasm writes it."""
    lines, places = _parsed(text)
    labels, loops = {*places.values()}, []
    for end, line in enumerate(lines):
        start = places.get(line.target, end + 1)
        if line.code.startswith("BRA") and start <= end:
            loops.append(_counted(_common(lines, start, end + 1, labels)))
    whole = _counted(_common(lines, 0, len(lines), labels))
    return Code(tuple(loop for loop in loops if loop.bytes), whole, _counted(lines))


def _parsed(text: str) -> tuple[list[_Line], dict[str, int]]:
    """The instructions, and before which of them each label stands."""
    lines: list[_Line] = []
    places: dict[str, int] = {}
    for line in text.splitlines():
        if label := _LABEL.match(line):
            places[label[1]] = len(lines)
        elif found := _INSTRUCTION.match(line):
            target = _TARGET.search(found[3])
            lines.append(_Line(found["code"], target[1] if target else ""))
    return lines, places


def _common(lines: list[_Line], start: int, end: int, labels: set[int]) -> list[_Line]:
    """Of lines start to end the straight pieces that call nothing."""
    common: list[_Line] = []
    piece: list[_Line] = []
    for place in range(start, end + 1):
        if piece and (place == end or place in labels or piece[-1].code.startswith("BRA")):
            common += [] if any(each.code.startswith("CALL") for each in piece) else piece
            piece = []
        if place < end:
            piece.append(lines[place])
    return common


def _counted(turn: list[_Line]) -> Loop:
    loads, stores = (
        Counter(_bits(each.code) for each in turn if each.code.startswith(which))
        for which in (LOAD, STORE)
    )
    return Loop(len(turn), loads, stores)


def _bits(code: str) -> int:
    """Of an access: LDG.E.128 has 128, LDG.E.U16 has 16, LDG.E has 32."""
    found = [int(part.lstrip("US")) for part in code.split(".")[1:] if part.lstrip("US").isdigit()]
    return found[0] if found else 32
