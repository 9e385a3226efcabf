"""What a call allocates at its peak."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from ...backend import get_backend

CALLS = 3


def peak_memory(call: Callable[[], object]) -> int:
    """Bytes that Python and NumPy hold at most during `call`, beyond what they held before.

    The least of a few calls: what comes once (a thread that starts, a cache that grows), and what
    another thread allocates meanwhile, is not the call's own. NumPy tells tracemalloc of every
    array; memory of other libraries does not appear. The pool of large results is off meanwhile,
    and empty after it, so that these are counted, too.
    """
    cpu = get_backend("cpu")
    limit = cpu.memory().limit
    cpu.set_memory_limit(0)
    try:
        return min(_peak(call) for _ in range(CALLS))
    finally:
        cpu.set_memory_limit(limit)


def _peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before
