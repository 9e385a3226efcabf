"""What CuPy has asked of the made-up driver, and what that tells CuPy on demand."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
