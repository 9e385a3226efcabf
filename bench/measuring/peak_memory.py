"""What a call allocates at its peak."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable


def peak_memory(call: Callable[[], object]) -> int:
    """Bytes that Python and NumPy hold at most during `call`, beyond what they held before.

    NumPy tells tracemalloc of every array; memory of other libraries does not appear.
    """
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before
