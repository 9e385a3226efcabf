"""How the engine "cupy" cuts arrays of (outer, channel, inner) into blocks.

Where a channel's runs are long, a block has one channel, else a tile of neighbouring ones, whose
rows are whole items: sixteen bytes, or as many of them as memory and runs are multiples of
(cuda_tiles.py); one element where an index takes 64 bits.

One block has all of its channels' values where these fit the registers of MORE threads, KEPT
elements each: then they are read once, and there is one launch. A tile is then as narrow as 32
bytes, the least that a GPU's memory gives at a time, so that there are many blocks. Else channels
are cut into parts, so that few channels make no fewer than RESIDENT blocks for each of the GPU's
processors, of which every thread has LEAST items.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from ...compiling.gpu.cuda_packs import BYTES

THREADS = 256  # of a block
MORE = 512  # of one that has all of its channels' values
RUN = 32  # values from which a channel's run is long
ACROSS = (128, 64, 32)  # bytes of a tile's row
LANES = 32  # items of it at most
KEPT = {2: 32, 4: 32, 8: 16}  # elements of an array that a thread keeps, by their bytes
MOST_KEPT = {2: 16, 4: 16, 8: 8}  # items
RESIDENT = 4  # blocks of THREADS that a processor holds: a thread then has 64 registers
FEWER = 2  # of those whose threads need more
LEAST = 4  # items of a thread
AHEAD = 16  # items at most that a thread looks ahead
WIDE = 1 << 31  # elements, with those that it looks ahead, from which an index takes 64 bits


class Plan(NamedTuple):
    """`across` x `parts` blocks of `threads` threads, each of `tile` channels.

    Attributes:
        runs: whether a block goes through runs of one channel; else through rows of a tile.
        each: elements of an item.
        share: items of a channel, or rows of a tile, that are a part.
        whole: whether a block keeps all values of its channels.
    """

    runs: bool
    each: int
    threads: int
    tile: int
    across: int
    parts: int
    share: int
    whole: bool

    @property
    def wide(self) -> bool:
        """Whether an index takes 64 bits."""
        return wide(self.each, self.whole)


class _Tile(NamedTuple):
    channels: int
    lanes: int  # items across


def kept(each: int, itemsize: int) -> int:
    """Items of an array that a thread keeps."""
    return min(KEPT[itemsize] // each, MOST_KEPT[itemsize])


def wide(each: int, whole: bool) -> bool:
    """Whether an index takes 64 bits: where items are elements, so that there are fewer forms."""
    return each == 1 and not whole


def resident(whole: bool, each: int, threads: int) -> int:
    """Blocks that a processor is to hold: fewer where threads keep values or take eight at once."""
    most = FEWER if whole or each == 8 else RESIDENT
    return max(1, most * THREADS // threads)


def plan_of(
    outer: int,
    channels: int,
    inner: int,
    itemsize: int,
    aligned: int,
    processors: int,
    whole: bool = True,
) -> Plan:
    """The plan for one shape on a GPU of so many processors.

    Args:
        aligned: bytes, BYTES at most, of which all arrays begin at multiples.
        whole: whether a block may keep values.
    """
    runs = inner >= RUN
    large = _reach(outer, channels, inner, BYTES // itemsize) >= WIDE
    row = (inner if runs else channels * inner) * itemsize
    each = 1 if large else gcd(aligned, row) // itemsize
    if runs:
        tiles, length = [_Tile(1, 1)], outer * inner // each
    else:
        widths = (min(row // (each * itemsize), LANES) for row in ACROSS)
        tiles = [_tile(channels, inner, each, lanes) for lanes in widths]
        length = outer
    if whole and not large:
        fitting = [tile for tile in tiles if length <= MORE // tile.lanes * kept(each, itemsize)]
        enough = [tile for tile in fitting if -(-channels // tile.channels) >= processors]
        if fitting:
            tile = [*enough[:1], fitting[-1]][0]
            across = -(-channels // tile.channels)
            return Plan(runs, each, MORE, tile.channels, across, 1, length, True)
    tile = tiles[0]
    across, at_once = -(-channels // tile.channels), THREADS // tile.lanes
    wanted = min(-(-RESIDENT * processors // across), length // (LEAST * at_once))
    share = -(-length // max(1, wanted))
    return Plan(runs, each, THREADS, tile.channels, across, -(-length // share), share, False)


def values_of_parts(plan: Plan, outer: int, inner: int) -> list[int]:
    """Values of a channel in each of its parts, as kernels have them by values_of()."""
    length, each = (outer * inner // plan.each, plan.each) if plan.runs else (outer, inner)
    parts = range(0, plan.share * plan.parts, plan.share)
    return [min(length - before, plan.share) * each for before in parts]


def _reach(outer: int, channels: int, inner: int, each: int) -> int:
    """Elements of an array, and of the place that a thread may look ahead to."""
    rows = MORE if inner < RUN else MORE * each // inner + 1
    return (outer + AHEAD * rows) * channels * inner


def _tile(channels: int, inner: int, each: int, lanes: int) -> _Tile:
    """The tile that is at least so many items across, if there are so many channels."""
    least = each // gcd(each, inner)  # channels whose runs are whole items
    wanted = min(-(-lanes * each // inner), channels)
    taken = -(-wanted // least) * least
    return _Tile(taken, taken * inner // each)
