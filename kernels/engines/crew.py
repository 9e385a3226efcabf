"""A crew of threads that share one loop over a large array and never keep anyone waiting.

Numba's own thread layers were measured and left: OpenMP's spins while it waits and stalls for
milliseconds beside BLAS, the portable one ends the process when two threads call it at once.

Here the caller does the work itself, a chunk at a time, and helpers take chunks beside it. A helper
that comes late finds nothing left: the caller waits only for chunks that are being worked on.
Between jobs a helper polls for about 0.2 ms and then sleeps; waking it costs as much as a small
step, so the crew is for large arrays. If a helper kept the caller waiting after all (another
process had its core), the caller works alone for a while.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from functools import cache, lru_cache
from threading import Lock, Thread
from typing import Any

import numpy as np

from ...backend import usable_cores
from .atomics import add, call, exchange, load, store
from .compile import njit

THREADS_VARIABLE = "ONEPASS_NUM_THREADS"
MAX_THREADS = 16  # by default
MOST_THREADS = 1024  # that can be asked for
POLLS = 200_000  # about 0.2 ms
PATIENCE = 250_000  # polls, plus one for 4 elements, after which a helper holds the caller up
MAX_REST = 64  # jobs that the caller then does alone: 1, at once again 2, 4, ... up to this
MIN_CHUNK = 1 << 14  # elements
CHUNKS_PER_THREAD = 16

# The board: words that are written together share a cache line (8 words), no others do.
_POSTED = 0  # jobs so far
_DONE = 8  # chunks that ended
_FUNCTION, _SIZE, _CHUNK, _JOB, _CHUNKS, _THREADS = 16, 17, 18, 19, 20, 21
_CLAIMS = 24  # one line for each thread's share: generation << 32 | chunks not yet claimed
_LINE = 8
_LOW = (1 << 32) - 1


@njit("void(int64[::1], int64)", nogil=True)
def _work(board: Any, rank: int) -> None:
    """Claim and run chunks, of one's own share and then of the others', until none is left.

    Each thread has the same share of the array in every job, so that it finds it in its own cache.
    A claim fails if another thread took the chunk or if the job has changed meanwhile.
    """
    threads = board[_THREADS]
    for k in range(threads):
        share = (rank + k) % threads
        word = _CLAIMS + _LINE * share
        while True:
            claim = load(board, word)
            left = claim & _LOW
            if left == 0:
                break
            function, size, chunk, job = board[_FUNCTION], board[_SIZE], board[_CHUNK], board[_JOB]
            last = (share + 1) * board[_CHUNKS] // board[_THREADS]
            if exchange(board, word, claim, claim - 1):
                low = (last - left) * chunk
                call(function, low, min(low + chunk, size), job)
                add(board, _DONE, 1)


@njit("void(int64[::1], int64, int64)", nogil=True)
def _help(board: Any, rank: int, polls: int) -> None:
    """Work on every job that comes until `polls` looks in a row found none."""
    seen, idle = -1, 0
    while idle < polls:
        posted = load(board, _POSTED)
        if posted != seen:
            _work(board, rank)
            seen, idle = posted, 0
        elif load(board, _DONE) < load(board, _CHUNKS):
            idle = 0  # others are still at their last chunks
        idle += 1


@njit("boolean(int64[::1], int64, int64, int64, int64, int64, int64)", nogil=True)
def _lead(
    board: Any, threads: int, function: int, size: int, chunk: int, job: int, patience: int
) -> bool:
    """Post a job, work on it, and say whether all of it has ended."""
    chunks = (size + chunk - 1) // chunk
    board[_FUNCTION], board[_SIZE], board[_CHUNK], board[_JOB] = function, size, chunk, job
    store(board, _DONE, 0)
    store(board, _CHUNKS, chunks)
    store(board, _THREADS, threads)
    posted = load(board, _POSTED) + 1
    for share in range(threads):
        count = (share + 1) * chunks // threads - share * chunks // threads
        store(board, _CLAIMS + _LINE * share, (posted << 32) | count)
    store(board, _POSTED, posted)
    _work(board, 0)
    while load(board, _DONE) < chunks and patience > 0:
        patience -= 1
    return load(board, _DONE) == chunks


@njit("void(int64, int64, int64)", nogil=True)
def _alone(function: int, size: int, job: int) -> None:
    call(function, 0, size, job)


class Crew:
    """The caller and `threads - 1` helpers, which start at the first job."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._board = np.zeros(_CLAIMS + _LINE * threads, dtype=np.int64)
        self._leading = Lock()
        self._asleep: list[Any] = []
        self._helpers: list[Thread] = []
        self._core: int | None = None  # the one that helpers keep off
        self._kept: Any = None  # what the posted job reads and writes, kept alive until it ended
        self._rest = 0  # jobs still to be done alone
        self._next_rest = 1

    def alone(self, function: int, size: int, job: np.ndarray) -> None:
        """Call `function`(0, size, job's address) in this thread."""
        _alone(function, size, job.ctypes.data)

    def run(
        self,
        function: int,
        size: int,
        job: np.ndarray,
        kept: Any,
        chunk: int | None = None,
        elements: int | None = None,
    ) -> None:
        """Call `function`(low, high, job's address) over chunks of range(size), and wait.

        Args:
            kept: held until the work has ended.
            chunk: how many of `size` at a time; by default `size` counts elements, and thousands
                of them make a chunk.
            elements: how many there are in all, where `size` counts something else.
        """
        address = job.ctypes.data
        if self.threads == 1 or not self._leading.acquire(blocking=False):
            _alone(function, size, address)
            return
        try:
            self._finish()  # a job that an interrupt left
            if self._rest:
                self._rest -= 1
                _alone(function, size, address)
                return
            self._start()
            if self._asleep:
                self._wake()
            if chunk is None:
                chunk = -(-size // (self.threads * CHUNKS_PER_THREAD))
                chunk = -(-max(chunk, MIN_CHUNK) // 1024) * 1024
            self._kept = (job, kept)
            patience = PATIENCE + (size if elements is None else elements) // 4
            if _lead(self._board, self.threads, function, size, chunk, address, patience):
                self._next_rest = 1
            else:
                self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, MAX_REST)
                self._finish()
            self._kept = None
        finally:
            self._leading.release()

    def _wake(self) -> None:
        self._make_room()
        while self._asleep:
            self._asleep.pop().release()

    def _make_room(self) -> None:
        """Keep helpers off the caller's core, where the scheduler may put a thread that it wakes.

        Seen on a virtual machine: the helper shared the caller's core while another one idled.
        """
        core = _current_core()
        if core is None or core == self._core:
            return
        others = os.sched_getaffinity(0) - {core}
        if others:
            for helper in self._helpers:
                if helper.native_id is not None:
                    os.sched_setaffinity(helper.native_id, others)
        self._core = core

    def _finish(self) -> None:
        while self._board[_DONE] < self._board[_CHUNKS]:
            time.sleep(0)
        self._kept = None

    def _start(self) -> None:
        if not self._helpers:
            for rank in range(1, self.threads):
                helper = Thread(target=self._serve, args=(rank,), daemon=True)
                helper.name = f"onepass-{rank}"
                try:
                    helper.start()
                except RuntimeError:  # no more threads to be had: the others take over its share
                    self.threads = rank
                    return
                self._helpers.append(helper)

    def _serve(self, rank: int) -> None:
        bell = Lock()
        bell.acquire()
        while True:
            _help(self._board, rank, POLLS)
            self._asleep.append(bell)
            if self._board[_DONE] < self._board[_CHUNKS]:  # posted since the last look
                try:
                    self._asleep.remove(bell)
                    continue
                except ValueError:  # the caller has it and rings
                    pass
            bell.acquire()


@cache
def _core_reader() -> Callable[[], int] | None:
    """glibc's sched_getcpu, where there is one."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    return getattr(ctypes.CDLL(None), "sched_getcpu", None)


def _current_core() -> int | None:
    reader = _core_reader()
    return None if reader is None else reader()


@lru_cache(maxsize=1)
def get_crew() -> Crew:
    """The crew of this process; ONEPASS_NUM_THREADS says of how many threads."""
    wished = os.environ.get(THREADS_VARIABLE, "").strip()
    if wished and not (wished.isascii() and wished.isdigit() and 1 <= int(wished) <= MOST_THREADS):
        raise ValueError(
            f"environment variable {THREADS_VARIABLE} is {wished!r}; expected a whole number from "
            f"1 to {MOST_THREADS}"
        )
    return Crew(int(wished) if wished else min(usable_cores(), MAX_THREADS))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=get_crew.cache_clear)  # threads don't survive a fork
