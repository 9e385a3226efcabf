"""What the compilers made of each kernel, kept in kept.json: a kernel is compiled again as soon as
anything differs that it was made of.

A name there ends with a checksum of all that the compilers were given, of their versions, and of
the code that reads what they say: no kernel finds what was made of another one, or of an older one.
`python -m proving.compiled.table --update` adds what is new and drops what nobody asked for. Where
ONEPASS_COMPILE_ALL is set nothing is taken from there, so that a run of the gate holds all of it to
what the compilers give.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from proving.compiled import ptxas
from proving.compiled.ptxas import Report
from proving.compiled.sass import Code, Loop
from proving.compiled.versions import installed

FILE = Path(__file__).with_name("kept.json")
ALL = "ONEPASS_COMPILE_ALL"
PYTHON = "Python {}.{}".format(*sys.version_info)  # Numba is given bytecode, which is of one Python
CUDA_C, NUMBA = "CUDA C", "Numba"
_READERS = "nvrtc.py", "ptxas.py", "sass.py", "lowered.py"


class Figures(NamedTuple):
    """Of one kernel for one GPU.

    Attributes:
        report: what its machine code takes.
        shown: which of ptxas.SIGNS stand in its PTX.
        code: what its loops do, where that is looked at.
    """

    report: Report
    shown: frozenset[str]
    code: Code | None = None


_asked: dict[str, dict[str, Figures]] = {}
_new: dict[tuple[str, str], Figures] = {}  # compiled in this process


def name(kind: str, kernel: str, given: Iterable[str]) -> str:
    """Under which a kernel is kept, CUDA_C or NUMBA; `given` is all that its compiler is given."""
    parts = *([PYTHON] if kind == NUMBA else []), *given, *_circumstances()
    return f"{kind} {kernel} {hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}"


@cache
def _circumstances() -> tuple[str, ...]:
    """What else decides what comes out: versions, and the code that reads it."""
    readers = [Path(__file__).with_name(each).read_text("utf-8") for each in _READERS]
    return *(f"{package} {version}" for package, version in installed().items()), *readers


def find(name: str, architecture: str) -> Figures | None:
    """What was made before; None where it is to be compiled."""
    found = _new.get((name, architecture))
    if found is None and not os.environ.get(ALL):
        found = _file().get(name, {}).get(architecture)
    if found is not None:
        _asked.setdefault(name, {})[architecture] = found
    return found


def keep(name: str, architecture: str, made: Figures) -> None:
    """What a compiler gave now."""
    _new[name, architecture] = made
    _asked.setdefault(name, {})[architecture] = made


def stale() -> list[str]:
    """What was compiled now and is not in the file, or is something else there; of Numba only
    where the file was written by this Python."""
    differ = (key for key, made in _new.items() if _file().get(key[0], {}).get(key[1]) != made)
    known = ("",) if _json()["written by"] == PYTHON else (CUDA_C,)
    return [f"{name} for sm_{each}" for name, each in differ if name.startswith(known)]


def _json() -> Any:
    return json.loads(FILE.read_text("utf-8"))


@cache
def _file() -> dict[str, dict[str, Figures]]:
    kept = _json()["kernels"]
    return {
        name: {architecture: _read(made) for architecture, made in each.items()}
        for name, each in kept.items()
    }


def write() -> None:
    """All that was asked for in this process, a line each."""
    lines = []
    for kernel, made in sorted(_asked.items()):
        figures = {each: _told(made[each]) for each in sorted(made, key=int)}
        lines.append(f"{json.dumps(kernel)}: {json.dumps(figures, separators=(',', ':'))}")
    head = f'"written by": {json.dumps(PYTHON)}'
    text = f'{{{head}, "kernels": {{\n' + ",\n".join(lines) + "\n}}\n"
    FILE.write_text(text, encoding="utf-8")
    _file.cache_clear()


# --- as JSON --------------------------------------------------------------------------------------
def _told(figures: Figures) -> list[Any]:
    """Registers, spilled bytes, signs, and loops where there are any."""
    signs = [sign for sign in ptxas.SIGNS if sign in figures.shown]
    told = [*figures.report, signs]
    if figures.code is not None:
        loops, whole, straight = figures.code
        told.append([[*map(_of_loop, loops)], _of_loop(whole), _of_loop(straight)])
    return told


def _read(told: list[Any]) -> Figures:
    registers, spilled, signs, *code = told
    read = None
    if code:
        loops, whole, straight = code[0]
        read = Code(tuple(map(_loop, loops)), _loop(whole), _loop(straight))
    return Figures(Report(registers, spilled), frozenset(signs), read)


def _of_loop(loop: Loop) -> list[Any]:
    return [loop.instructions, loop.loads, loop.stores]


def _loop(told: list[Any]) -> Loop:
    instructions, *moved = told
    loads, stores = (Counter({int(bits): times for bits, times in each.items()}) for each in moved)
    return Loop(instructions, loads, stores)
