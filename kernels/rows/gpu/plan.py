"""How a GPU's blocks share out rows.

A row goes to a few neighbouring lanes of a warp, which meet by shuffles, or, where it is wide, to a
block. A thread takes items of EACH elements, which are read and written at once, and keeps the
first of them in registers between the walks and the result; a wide row's others are read again.

Where each column has one element and all rows have the same columns, a thread's items are of the
same columns in every row, so that sums over columns stay in registers for the `share` rows of a
part. Else ("planes") an item lies within a column, `sub` threads take a column each time, and there
is a sum for each column of each row. A second launch adds up parts, or rows, in double.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from ...compiling.gpu.cuda_launch import MAX_BLOCKS
from ...compiling.gpu.cuda_packs import BYTES
from ..skeleton import Rows, Shape

WARP = 32
THREADS = 256  # of a block that takes several rows
MORE = 512  # of one that takes one row, at most
FEW = 32  # bytes of an array that one of some lanes keeps
RESIDENT = 4  # blocks of THREADS for each processor that sums columns
LEAST, MOST = 4, 32  # rows that one place of a block sums one after another
WIDE = 1 << 30  # elements from which the number of one takes 64 bits
JOINED = 32  # columns of a block that joins sums, and threads of each


class Form(NamedTuple):
    """What a kernel is compiled for.

    Attributes:
        block: whether a block takes a row; else lanes of a warp do.
        planes: whether items lie within a column.
        each: elements of an item.
        kept: items of an array that a thread keeps.
        wide: whether the number of an element takes 64 bits.
    """

    block: bool
    planes: bool
    each: int
    kept: int
    wide: bool

    @property
    def threads(self) -> int:
        """Of a block, at most."""
        return MORE if self.block else THREADS


class Plan(NamedTuple):
    """`blocks` blocks of `threads` threads, of which `lanes` take a row.

    Attributes:
        sub: threads of a column, in planes.
        per: items of a thread in a column of its, in planes.
        steps: its items in a row.
        share: rows of a place in a part.
        parts: how many there are.
        sums: how many there are of each column, which a second launch adds up.
    """

    form: Form
    threads: int
    lanes: int
    sub: int
    per: int
    steps: int
    share: int
    parts: int
    sums: int

    @property
    def blocks(self) -> int:
        return min(self.parts, MAX_BLOCKS)


class Room(NamedTuple):
    """Bytes that a thread keeps of all arrays together, and items; bytes of an item at most."""

    kept: int
    items: int
    item: int


CUDA_C = Room(64, 8, BYTES)
NUMBA = Room(64, 8, 1)


def plan_of(
    rows: Rows, shape: Shape, itemsize: int, aligned: int, processors: int, room: Room
) -> Plan:
    """The plan for one shape on a GPU of so many processors.

    Args:
        aligned: bytes of which all arrays begin at multiples.
    """
    count, groups, columns, inner = shape
    planes = inner > 1 or groups > 1
    run = inner if planes else columns
    size = max(itemsize, gcd(aligned, run * itemsize, room.item))
    each = size // itemsize
    items = run // each * (columns if planes else 1)
    most = max(1, min(room.kept // size, room.items) // max(1, len(rows.elements)))
    few = min(max(1, FEW // size), most)
    lanes, kept = _power(-(-items // few)), few
    if lanes > WARP:
        lanes, kept = min(max(_power(-(-items // most)), 2 * WARP), MORE), most
    sub, per, steps = 1, 1, -(-items // lanes)
    if planes:
        narrow = lanes > WARP and columns < lanes // WARP
        sub = lanes if narrow else min(_power(inner // each), WARP, lanes)
        per = -(-(inner // each) // sub)
        steps = per * -(-columns // (lanes // sub))
    threads = max(lanes, THREADS) if lanes <= WARP else lanes
    slots = threads // lanes
    share = 1
    if rows.added and not planes:
        at_once = slots * RESIDENT * processors * THREADS // threads
        share = min(max(-(-count // at_once), LEAST), MOST, -(-count // slots))
    parts = -(-count // (slots * share))
    form = Form(lanes > WARP, planes, each, kept, shape.width >= WIDE)
    sums = count // groups if planes else parts
    return Plan(form, threads, lanes, sub, per, steps, share, parts, sums)


EVERY_WIDTH = 7, 8, 4096, 4097
"""Lengths of rows, or of columns of planes, that take every form there is of odd ones, and of
multiples of sixteen bytes, but for those with `wide`."""


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << (n - 1).bit_length()
