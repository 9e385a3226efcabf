"""A launch in a program of its own, built for a sanitizer, on copies of its arrays."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import struct
import subprocess
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from proving.host import building

PATIENCE_S = 120
_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",
    "TSAN_OPTIONS": "exitcode=0:report_thread_leaks=0",
}
_NOISE = "ASan doesn't fully support makecontext/swapcontext"  # it does what is asked of it here


class Outcome(NamedTuple):
    """What a sanitizer reports of a launch, "" if nothing, and the arguments as it left them.

    There are no arguments if the launch was cut short.
    """

    report: str
    args: tuple[Any, ...]


class Settings(NamedTuple):
    """How to launch: the library, three sizes of the grid and of the block, and so on."""

    library: str
    shape: tuple[int, ...]
    shared_mem: int
    limit: int
    order: int


def missing(kind: str) -> str:
    """Why "asan" or "tsan" can't run here; empty when it can."""
    return _command(kind)[1]


def usable(kind: str) -> str:
    """`kind`; a skip, with the reason, where it can't run here."""
    if reason := missing(kind):
        pytest.skip(reason)
    return kind


def run(
    kind: str,
    name: str,
    settings: Settings,
    args: Sequence[Any],
    reached: Sequence[np.ndarray] = (),
) -> Outcome:
    """Launch kernel `name`; arrays that overlap share their memory.

    What arguments of int64 hold of addresses in the arrays that are `reached` becomes addresses in
    their copies. The outcome's arguments are these arrays, too.
    """
    pieces = _pieces([*args, *reached])
    starts = [start for start, _ in pieces]
    library = f"{settings.library}\0".encode()
    parts = [struct.pack("Q", len(library)), library]
    parts.append(struct.pack("8Q", *settings.shape, settings.shared_mem, settings.limit))
    parts.append(struct.pack("qQ", settings.order, len(pieces)))
    for start, end in pieces:
        parts.append(struct.pack("QQ", start % 16, end - start))
        parts.append(ctypes.string_at(start, end - start))
    parts.append(struct.pack("Q", len(args)))
    places = []  # of each array: the number of its piece, and where in there it starts
    for arg in args:
        if isinstance(arg, np.ndarray):
            piece = bisect_right(starts, arg.ctypes.data) - 1
            places.append((piece, arg.ctypes.data - starts[piece]))
            parts.append(struct.pack("QQQ", *places[-1], 0))
        else:
            places.append((len(pieces), 0))
            parts.append(struct.pack("Q", len(pieces)) + arg.tobytes().ljust(16, b"\0"))
    addresses = _addresses(pieces, starts, args, reached)
    parts.append(struct.pack("Q", len(addresses)))
    parts += [struct.pack("QQQQ", *each) for each in addresses]
    for array in reached:
        piece = bisect_right(starts, array.ctypes.data) - 1
        places.append((piece, array.ctypes.data - starts[piece]))
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before"), Path(folder, "after")
        before.write_bytes(b"".join(parts))
        command = [*_command(kind)[0], str(before), str(after)]
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=PATIENCE_S, env=_environment()
            )
        except subprocess.TimeoutExpired:
            return Outcome(f"{name} still ran after {PATIENCE_S} s", ())
        lines = done.stderr.decode(errors="replace").splitlines(keepends=True)
        report = "".join(line for line in lines if _NOISE not in line)
        if not after.exists():
            return Outcome(report or f"{name} ended with {done.returncode}", ())
        written = bytearray(after.read_bytes())
    first = [0, *accumulate(end - start for start, end in pieces)]
    results = (
        np.ndarray(arg.shape, arg.dtype, written, first[piece] + place, arg.strides)
        if isinstance(arg, np.ndarray)
        else arg
        for arg, (piece, place) in zip([*args, *reached], places, strict=True)
    )
    return Outcome(report, tuple(results))


def _pieces(args: Sequence[Any]) -> list[tuple[int, int]]:
    """Start and end of the memory that arrays take; those that overlap share a piece."""
    spans = [
        np.lib.array_utils.byte_bounds(arg) if arg.size else (arg.ctypes.data, arg.ctypes.data)
        for arg in args
        if isinstance(arg, np.ndarray)
    ]
    pieces: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if pieces and start < pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], max(end, pieces[-1][1]))
        else:
            pieces.append((start, end))
    return pieces


def _addresses(
    pieces: Sequence[tuple[int, int]],
    starts: Sequence[int],
    args: Sequence[Any],
    reached: Sequence[np.ndarray],
) -> list[tuple[int, int, int, int]]:
    """Where a word of a table is an address: its piece and place, and what it is the address of."""
    found = []
    within = set(_pieces(reached))
    for table in args if reached else ():
        if not isinstance(table, np.ndarray) or table.dtype != np.int64:
            continue
        assert table.flags.c_contiguous
        own = bisect_right(starts, table.ctypes.data) - 1
        for k, address in enumerate(table.reshape(-1).tolist()):
            piece = bisect_right(starts, address) - 1
            if piece >= 0 and any(low <= address < high for low, high in within):
                place = table.ctypes.data + 8 * k - starts[own]
                found.append((own, place, piece, address - starts[piece]))
    return found


def _environment() -> dict[str, str]:
    return os.environ | _OPTIONS


@cache
def _command(kind: str) -> tuple[tuple[str, ...], str]:
    """The program of the sanitizer; or why there is none."""
    program, reason = building.program(kind)
    if reason:
        return (), reason
    # without randomized addresses first: some runtimes don't find their own place among them
    fixed, plain = ("setarch", platform.machine(), "-R", program), (program,)
    for command in (fixed, plain) if shutil.which("setarch") else (plain,):
        done = subprocess.run(command, capture_output=True, text=True, env=_environment())
        if done.returncode == 0 and not done.stderr:
            return command, ""
    return (), f"a program with {kind} does not start: {done.stderr.strip()[:200]}"
