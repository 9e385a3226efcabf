"""How the engine "numba-cuda" cuts a reduction over (outer, channel, inner) into blocks."""

from __future__ import annotations

from typing import NamedTuple

LONG = 32  # values from which a channel's run is long enough for the threads of a block
NEIGHBOURS = 32  # channels of a block where runs are shorter
BLOCKS = 1024  # that fill a large GPU
MOST_PARTS = 128
LEAST = 16  # values of a thread


class GpuPlan(NamedTuple):
    """A grid of `across` x `parts` blocks, each of a part of `width` neighbouring channels."""

    width: int
    across: int
    parts: int


def gpu_plan(outer: int, channels: int, inner: int, threads: int) -> GpuPlan:
    """The plan for one shape, for blocks of that many threads."""
    width = 1 if inner >= LONG else NEIGHBOURS
    across = -(-channels // width)
    least = LEAST * threads // width
    return GpuPlan(
        width, across, max(1, min(-(-BLOCKS // across), outer * inner // least, MOST_PARTS))
    )
