"""What a call allocates at its peak."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

CALLS = 3


def peak_memory(call: Callable[[], object]) -> int:
    """Bytes that Python and NumPy hold at most during `call`, beyond what they held before.

    The least of a few calls: what comes once (a thread that starts, a cache that grows), and what
    another thread allocates meanwhile, is not the call's own. NumPy tells tracemalloc of every
    array; memory of other libraries does not appear.
    """
    return min(_peak(call) for _ in range(CALLS))


def _peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before
