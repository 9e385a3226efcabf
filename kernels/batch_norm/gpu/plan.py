"""How the engine "cupy" cuts arrays of (outer, channel, inner) into blocks.

Where a channel's runs are long, a block has one channel, else a tile of neighbouring ones, whose
rows are whole items: sixteen bytes, or one element where memory is not aligned (cuda_tiles.py).

One block has all of its channels' values where these fit the registers of at most MORE threads,
KEPT elements each: then they are read once, and there is one launch. A tile is then as narrow as 32
bytes, the least that a GPU's memory gives at a time, so that there are many blocks. Else channels
are cut into parts, so that few channels make no fewer than RESIDENT blocks for each of the GPU's
processors, of which every thread has LEAST items.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from ...compiling.cuda_packs import BYTES

THREADS = 256  # of a block
MORE = 512  # of one that has all of its channels' values
RUN = 32  # values from which a channel's run is long
LANES = (8, 4, 2)  # items across a tile, where they have BYTES
SINGLES = (32, 16, 8)  # where they are elements
KEPT = {2: 32, 4: 32, 8: 16}  # elements of an array that a thread keeps, by their bytes
MOST_KEPT = 16  # items
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
        wide: whether an index takes 64 bits.
    """

    runs: bool
    each: int
    threads: int
    tile: int
    across: int
    parts: int
    share: int
    whole: bool
    wide: bool


class _Tile(NamedTuple):
    channels: int
    lanes: int  # items across


def kept(each: int, itemsize: int) -> int:
    """Items of an array that a thread keeps."""
    return min(KEPT[itemsize] // each, MOST_KEPT)


def resident(whole: bool, runs: bool, each: int, threads: int) -> int:
    """Blocks that a processor is to hold: fewer where a thread keeps values, or has the
    coefficients of eight channels."""
    most = FEWER if whole or (each == 8 and not runs) else RESIDENT
    return max(1, most * THREADS // threads)


def plan_of(
    outer: int,
    channels: int,
    inner: int,
    itemsize: int,
    aligned: bool,
    processors: int,
    whole: bool = True,
) -> Plan:
    """The plan for one shape, whose arrays begin at multiples of BYTES or not, on a GPU of so many
    processors; `whole`: of a block's values may be kept."""
    runs = inner >= RUN
    each = BYTES // itemsize
    if not aligned or (inner if runs else channels * inner) % each:
        each = 1
    if runs:
        tiles, length = [_Tile(1, 1)], outer * inner // each
    else:
        widths = LANES if each > 1 else SINGLES
        tiles = [_tile(channels, inner, each, lanes) for lanes in widths]
        length = outer
    rows_ahead = AHEAD * (MORE * each // inner + 1 if runs else MORE // tiles[-1].lanes)
    wide = (outer + rows_ahead) * channels * inner >= WIDE
    if whole and not wide:
        found = _whole(tiles, channels, length, kept(each, itemsize), processors)
        if found:
            tile, threads = found
            across = -(-channels // tile.channels)
            return Plan(runs, each, threads, tile.channels, across, 1, length, True, False)
    tile = tiles[0]
    across, at_once = -(-channels // tile.channels), THREADS // tile.lanes
    wanted = min(-(-RESIDENT * processors // across), length // (LEAST * at_once))
    share = -(-length // max(1, wanted))
    parts = -(-length // share)
    return Plan(runs, each, THREADS, tile.channels, across, parts, share, False, wide)


def _tile(channels: int, inner: int, each: int, lanes: int) -> _Tile:
    """The tile that is at least so many items across, if there are so many channels."""
    least = each // gcd(each, inner)  # channels whose runs are whole items
    wanted = min(-(-lanes * each // inner), channels)
    taken = -(-wanted // least) * least
    return _Tile(taken, taken * inner // each)


def _whole(
    tiles: list[_Tile], channels: int, length: int, kept: int, processors: int
) -> tuple[_Tile, int] | None:
    """The widest tile that makes as many blocks as processors, else the narrowest, and the threads
    of a block that keeps it; None where none does."""
    found = None
    for tile in tiles:
        for threads in (THREADS, MORE):
            if length <= threads // tile.lanes * kept:
                if found is None or -(-channels // found[0].channels) < processors:
                    found = tile, threads
                break
    return found
