"""NVIDIA's disassembler: what a loop of a kernel's machine code does for each element."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from proving.compiled import nvrtc, ptxas

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


def needed() -> None:
    """Skip, with the reason, where there is no disassembler, or what comes before it."""
    nvrtc.needed()
    if not ptxas.tool("nvdisasm"):
        pytest.skip("nvdisasm is neither in the wheel nvidia-cuda-nvdisasm nor on the PATH")


def first_loop(text: nvrtc.Text, architecture: str, loads: int = 0) -> Loop:
    """The first loop of the only kernel of a text that stores to global memory, or that loads so
    many bits at a time."""
    return loop_of(disassembled(text, architecture), loads)


def straight(text: nvrtc.Text, architecture: str) -> Loop:
    """All of the only kernel of a text, as if it were one turn."""
    return _counted(_parsed(disassembled(text, architecture))[0])


def busiest_loop(text: nvrtc.Text, architecture: str) -> Loop:
    """The loop whose turn moves most, of the only kernel of a text; the shortest of such loops."""
    return busiest_of(disassembled(text, architecture))


@cache
def disassembled(text: nvrtc.Text, architecture: str) -> str:
    """The machine code of the only kernel of a text, as nvdisasm writes it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(nvrtc.build(text, architecture).code)
        command = [ptxas.tool("nvdisasm"), "-c", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loop_of(text: str, loads: int = 0) -> Loop:
    """The first loop that stores to global memory, or that loads so many bits at a time."""
    found = (each for each in _loops(text) if (each.loads[loads] if loads else each.stores))
    loop = next(found, None)
    what = f"loads {loads} bits at a time" if loads else "stores anything"
    assert loop is not None, f"no loop {what}:\n{text}"
    return loop


def busiest_of(text: str) -> Loop:
    """The loop whose turn moves most; where none moves anything, the whole kernel is one turn."""
    found = [loop for loop in _loops(text) if loop.bytes]
    return max(found or [_whole(text)], key=lambda loop: (loop.bytes, -loop.instructions))


def _loops(text: str) -> Iterator[Loop]:
    """Every loop, in the order of their ends."""
    lines, places = _parsed(text)
    for end, line in enumerate(lines):
        start = places.get(line.target, end + 1)
        if line.code.startswith("BRA") and start <= end:
            yield _counted(_common(lines, start, end + 1, {*places.values()}))


def _whole(text: str) -> Loop:
    lines, places = _parsed(text)
    return _counted(_common(lines, 0, len(lines), {*places.values()}))


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
