"""How much memory the pool of the CPU may have: by default a quarter of what this process may."""

from __future__ import annotations

import os
import re
from numbers import Integral
from pathlib import Path
from typing import Any

from .control_groups import least_limit

MEMORY_VARIABLE = "ONEPASS_MEMORY_LIMIT"
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)
_EXPECTED = "bytes, such as 2147483648 or '2G' (of 1024^3), 0 for no pool"


def bytes_of(name: str, value: Any) -> int:
    """A number of bytes: an integer, or a text such as "2G", "512M", "1.5 GiB".

    Raises:
        TypeError: it is neither an integer nor a text.
        ValueError: it is negative, or says no number of bytes.
    """
    if isinstance(value, str):
        if (found := _WRITTEN.fullmatch(value)) is None:
            raise ValueError(f"{name} is {value!r}; expected {_EXPECTED}")
        return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected {_EXPECTED}")
    if int(value) < 0:
        raise ValueError(f"{name} is {value}; expected {_EXPECTED}")
    return int(value)


def default_limit() -> int:
    """What ONEPASS_MEMORY_LIMIT says, else a quarter of the memory that this process may have."""
    if wished := os.environ.get(MEMORY_VARIABLE, "").strip():
        return bytes_of(f"environment variable {MEMORY_VARIABLE}", wished)
    import psutil

    total = psutil.virtual_memory().total
    allowed = memory_quota()
    return (total if allowed is None else min(total, allowed)) // 4


def memory_quota(proc: str = "/proc/self") -> int | None:
    """Bytes of memory that control groups allow; None for no limit.

    Args:
        proc: the folder that tells of a process.
    """
    return least_limit("memory", _quota, proc)


def _quota(folder: Path) -> int | None:
    """The limit of one group, in v2's file or v1's."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            return int((folder / name).read_text(encoding="ascii"))
        except (OSError, ValueError):  # not there; or "max", for no limit
            continue
    return None
