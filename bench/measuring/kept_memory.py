"""Memory that is freed stays with the process, so that timings hold no page faults.

glibc gives large blocks back to the system when they lie at the end of the heap, and whether a
call's next result lies there depends on what other candidates of a run allocated before it. Taking
25 MB anew costs more than normalizing them. Both sides of a comparison allocate through it.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's names for them
_LARGEST_MMAP_THRESHOLD = 32 << 20  # that glibc accepts


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed; whether it does (glibc only)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    kept = mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    return bool(kept and mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))
