"""How the CPU engine cuts (outer, channel, inner) into tasks.

Memory is a matrix of rows, in each of which whole channels follow one another. A task takes some
channels (a block of columns, so that no other task sums into them) and some of the rows (a part).
Where a block has one part, a task sums and normalizes at once, the second time from the cache.
Nothing here depends on the number of threads, so neither do the results.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

PLANE = 256  # elements from which a channel's run is walked alone, with its mean in a register
PIECE = 4096  # elements that are summed in the arrays' own precision before double takes over
JOINED = 1024  # elements that rows of short periods are joined to
NARROW, WIDE = 512, 1024  # elements of a block of columns
SLAB = 512 << 10  # bytes of a task that a core's cache should hold
BLOCKS = 16  # blocks that are tasks enough; fewer are cut into parts
TASKS = 32
LEAST = 1 << 16  # elements of a part
SHARED = 1 << 20  # bytes of x from which threads share the tasks
SPLIT = 3 << 20  # bytes of x from which rows are cut into parts


class Plan(NamedTuple):
    """Lengths in elements, except `group` (channels), `rows`, `parts` and `blocks`."""

    total: int
    length: int
    rows: int
    group: int
    inner: int
    channels: int
    parts: int
    blocks: int
    planes: int


@lru_cache(maxsize=256)
def plan(outer: int, channels: int, inner: int, itemsize: int) -> Plan:
    """The plan for one shape; it is computed once."""
    total = outer * channels * inner
    if channels == 1:  # one long run: cut it into rows
        outer, inner = -(-total // PIECE), PIECE
    period = channels * inner
    joined, rows = 1, outer
    if inner >= PLANE:
        group = -(-PIECE // (4 * inner))
    elif period < JOINED:
        joined = max(1, min(JOINED // period, outer))
        rows, group = -(-outer // joined), channels
    else:
        width = max(NARROW, min(SLAB // (outer * itemsize), WIDE))
        group = max(1, width // inner)
        if total * itemsize >= SHARED:
            group = min(group, -(-channels // 2))  # a second thread has something to do
    group = min(group, channels)
    blocks = -(-channels // group)
    parts = 1
    if blocks < BLOCKS and total * itemsize >= (SHARED if blocks == 1 else SPLIT):
        parts = max(1, min(-(-TASKS // blocks), rows, total // (blocks * LEAST)))
    return Plan(
        total, joined * period, rows, group, inner, channels, parts, blocks, int(inner >= PLANE)
    )
