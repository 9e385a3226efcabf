"""What CuPy has asked of the made-up driver, and what that tells CuPy on demand; and which
functions of Python a call runs meanwhile."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .libraries import libcuda

NAMES = (
    "launches",
    "copies",
    "fills",
    "waits",
    "allocations",
    "releases",
    "nodes",
    "graphs",
    "orders",
)


def counts(*, reset: bool = False) -> dict[str, int]:
    """How often each was asked for since the last `reset`."""
    found = (ctypes.c_longlong * len(NAMES))()
    libcuda().made_up_counts(found, ctypes.c_bool(reset))
    return dict(zip(NAMES, found, strict=True))


def reset() -> None:
    """Count from 0."""
    counts(reset=True)


@contextmanager
def trace(path: Path) -> Iterator[None]:
    """Each call in the block becomes a line of the file."""
    begin = libcuda().made_up_trace
    begin.restype = ctypes.c_bool
    if not begin(str(path).encode()):
        raise OSError(f"{path} can't be written")
    try:
        yield
    finally:
        begin(None)


def refused() -> str:
    """The functions that were called though the driver does not have them, since last asked."""
    text = ctypes.create_string_buffer(2000)
    libcuda().made_up_refused(text)
    return text.value.decode()


def python_calls(call: Callable[..., Any], *given: Any, **options: Any) -> list[str]:
    """The names of Python's functions that run in a call, and its own, in their order."""
    found: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            found.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call(*given, **options)
    finally:
        sys.setprofile(before)
    return found
