"""Memory that stays: large results on the CPU lie in blocks that are kept for the next ones.

The system hands out memory page by page, each a fault in which it is zeroed, and takes it back when
an array is gone: for an array of a few megabytes this costs as much as a pass over it.

A result lies over an owner, an array of bytes over a block. NumPy makes the owner the base of the
result and of each of its views, so that it lives as long as anything that can reach the block. When
it goes, a weak reference appends itself to a deque, which is compiled code from end to end: no lock
is taken and no line of Python runs, in whatever thread, in the garbage collector, at the end of the
interpreter. Whoever takes a block next sorts in what came back.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from .machine.memory_limit import default_limit

LARGE = 1 << 20
"""Bytes from which results lie in blocks; smaller ones the C library keeps itself."""

PERHAPS = LARGE >> 3
"""Bytes, or elements, from which what is made of an array may be large: 8 bytes each are most."""

_HUGE = 4 << 20  # bytes from which NumPy, too, asks for huge pages
_ADVICE = (
    getattr(mmap, "MADV_HUGEPAGE", None)
    if os.environ.get("NUMPY_MADVISE_HUGEPAGE") != "0"
    else None
)
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


class PoolFigures(NamedTuple):
    """What the pool has, in bytes of its blocks, and how often one was there (hits) or not."""

    in_use: int
    kept: int
    limit: int
    hits: int
    misses: int


class _Ticket(ref):
    """A weak reference to an owner, with its block."""

    __slots__ = ("block",)
    block: mmap.mmap


class MemoryPool:
    """Blocks of memory by their sizes; those that came back are given out again, newest first.

    In use and kept, they are never more than the limit: kept blocks go back to the system, oldest
    first, when another one is needed, and what finds no room beside those in use is NumPy's memory.

    The lock is entered once a thread: what the garbage collector, or a handler of signals, asks in
    between finds the pool busy and is answered without it. An interrupt leaves nothing half done:
    what belongs together stands in lines without a call.
    """

    def __init__(self) -> None:
        self.lock, self._busy = threading.RLock(), False
        self._limit: int | None = None  # until it is asked for
        self._out: dict[int, _Ticket] = {}
        self._back: deque[_Ticket] = deque()
        self._kept: dict[int, deque[tuple[int, mmap.mmap]]] = {}  # of each size, oldest first
        self._clock = self._in_use = self._hits = self._misses = 0

    def owner(self, nbytes: int) -> np.ndarray | None:
        """An array of that many bytes over a block; None where there is no room for it."""
        with self.lock:
            if self._busy:
                return None
            self._busy = True
            try:
                return self._owner(nbytes)
            finally:
                self._busy = False

    def figures(self) -> PoolFigures:
        """What it has at this moment."""
        with self.lock:
            if not self._busy:
                self._sort()
            most, kept = self._most(), self._kept_bytes()
            return PoolFigures(self._in_use, kept, most, self._hits, self._misses)

    def release(self) -> None:
        """Give all blocks that nobody uses back to the system."""
        with self.lock:
            if not self._busy:
                self._sort()
                self._kept.clear()

    def set_limit(self, limit: int | None) -> None:
        """Have no more than `limit` bytes from now on; None: the default."""
        limit = default_limit() if limit is None else limit
        with self.lock:
            self._limit = limit
            if not self._busy:
                self._sort()

    def _owner(self, nbytes: int) -> np.ndarray | None:
        if self._back:
            self._sort()
        size = size_class(nbytes)
        if kept := self._kept.get(size):
            block: mmap.mmap | None = kept.pop()[1]
            self._hits += 1
        else:
            self._misses += 1
            block = self._new(size)
        if block is None:
            return None
        owner = np.ndarray(nbytes, np.uint8, block)
        ticket = _Ticket(owner, self._back.append)
        key = id(ticket)
        ticket.block = block
        self._out[key] = ticket
        self._in_use += size
        return owner

    def _sort(self) -> None:
        """Take in the blocks that came back; the limit may be lower than it was."""
        while self._back:
            ticket = self._back[0]
            key = id(ticket)
            if key in self._out:  # else an interrupt came after it was taken in
                size = len(ticket.block)
                kept = self._kept.setdefault(size, deque())
                self._clock += 1
                self._in_use -= size
                del self._out[key]
                kept.append((self._clock, ticket.block))
            self._back.popleft()
        self._shrink(self._most() - self._in_use)

    def _new(self, size: int) -> mmap.mmap | None:
        room = self._most() - self._in_use - size
        if room < 0:
            return None
        self._shrink(room)
        try:
            return new_block(size)
        except (OSError, MemoryError):
            self._kept.clear()
        try:
            return new_block(size)
        except (OSError, MemoryError):
            return None

    def _shrink(self, room: int) -> None:
        """Let the oldest blocks go until those that are kept have no more than `room` bytes."""
        over = self._kept_bytes() - max(room, 0)
        while over > 0:
            size = min((kept[0][0], size) for size, kept in self._kept.items() if kept)[1]
            self._kept[size].popleft()
            over -= size

    def _kept_bytes(self) -> int:
        return sum(size * len(kept) for size, kept in self._kept.items())

    def _most(self) -> int:
        if self._limit is None:
            self._limit = default_limit()
        return self._limit


def size_class(nbytes: int) -> int:
    """The size of the block for so many bytes: at most an eighth more, and whole pages."""
    step = max(mmap.PAGESIZE, 1 << max(0, (nbytes - 1).bit_length() - 4))
    return -(-nbytes // step) * step


def new_block(size: int) -> mmap.mmap:
    """Memory of the system's, which after a fork is each process's own; OSError for none.

    From 4 MB in huge pages, as NumPy's, where NUMPY_MADVISE_HUGEPAGE doesn't forbid it.
    """
    block = mmap.mmap(-1, size, **_PRIVATE)
    if size >= _HUGE and _ADVICE is not None:
        with suppress(OSError):  # a kernel without them
            block.madvise(_ADVICE)
    return block


POOL = MemoryPool()
"""Of this process."""

if hasattr(os, "register_at_fork"):  # no other thread is at work in it when a child begins
    os.register_at_fork(
        before=POOL.lock.acquire,
        after_in_parent=POOL.lock.release,
        after_in_child=POOL.lock.release,
    )


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """As numpy.empty; a megabyte and more lies in a block of the pool."""
    dtype = np.dtype(dtype)
    nbytes = prod(shape) * dtype.itemsize
    if nbytes < LARGE or dtype.hasobject:
        return np.empty(shape, dtype)
    owner = POOL.owner(nbytes)
    if owner is not None:
        return np.ndarray(shape, dtype, owner)
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        POOL.release()
        return np.empty(shape, dtype)


def empty_as(array: np.ndarray) -> np.ndarray:
    """`empty` of the shape and dtype of a plain array, at once where it is small."""
    new = np.empty if array.nbytes < LARGE else empty
    return new(array.shape, array.dtype)


def empty_like(array: np.ndarray, dtype: Any = None) -> np.ndarray:
    """As numpy.empty_like, in the order of the array's axes; likewise."""
    dtype = array.dtype if dtype is None else np.dtype(dtype)
    if array.size * dtype.itemsize < LARGE or type(array) is not np.ndarray:
        return np.empty_like(array, dtype=dtype)
    if array.flags.c_contiguous:
        return empty(array.shape, dtype)
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    if array.flags.f_contiguous:
        order = list(range(array.ndim))[::-1]
    made = empty(tuple(array.shape[axis] for axis in order), dtype)
    return made.transpose([order.index(axis) for axis in range(array.ndim)])


def converted(array: np.ndarray, dtype: Any) -> np.ndarray:
    """As numpy.asarray(array, dtype) of a plain array; a large copy of numbers lies in a block."""
    wanted = np.dtype(dtype)
    kinds = {array.dtype.kind, wanted.kind}
    if array.size * wanted.itemsize < LARGE or wanted == array.dtype or not kinds <= {*"biuf"}:
        return np.asarray(array, dtype=dtype)
    made = empty_like(array, wanted)
    np.copyto(made, array, casting="unsafe")
    return made


def product(a: Any, b: Any) -> Any:
    """a @ b of two matrices of any array library; NumPy's, where it is large, lies in a block."""
    if type(a) is not np.ndarray or a.dtype is not b.dtype or a.ndim != 2 or b.ndim != 2:
        return a @ b
    shape = len(a), b.shape[1]
    if shape[0] * shape[1] * a.itemsize < LARGE or a.shape[1] != len(b):
        return a @ b
    return np.matmul(a, b, out=empty(shape, a.dtype))


def rows_taken(array: Any, rows: Any) -> Any:
    """array.take(rows, axis=0) of any array library; likewise."""
    if type(array) is not np.ndarray or type(rows) is not np.ndarray or not array.size:
        return array.take(rows, axis=0)
    if rows.size * array.nbytes < LARGE * len(array) or rows.dtype.kind not in "iu":
        return array.take(rows, axis=0)
    if rows.min() < 0 or rows.max() >= len(array):
        return array.take(rows, axis=0)
    made = empty(rows.shape + array.shape[1:], array.dtype)
    return array.take(rows, axis=0, out=made, mode="clip")  # "raise" would make a copy first


def joined(xp: Any, arrays: Sequence[Any]) -> Any:
    """xp.concatenate(arrays), of at least one; likewise."""
    first = arrays[0]
    alike = all(
        type(each) is np.ndarray and each.dtype is first.dtype and each.shape[1:] == first.shape[1:]
        for each in arrays
    )
    if not alike or not first.ndim:
        return xp.concatenate(arrays)
    shape = sum(map(len, arrays)), *first.shape[1:]
    return np.concatenate(arrays, out=empty(shape, first.dtype))
