"""A crew of threads that share one loop over a large array and never keep anyone waiting.

Numba's own thread layers were measured and left: OpenMP's spins while it waits and stalls for
milliseconds beside BLAS, the portable one ends the process when two threads call it at once.

Here the caller does the work itself, a chunk at a time, and helpers take chunks beside it. A helper
that comes late finds nothing left: the caller waits only for chunks that are being worked on.
Between jobs a helper polls for about 0.1 ms and then sleeps. A sleeping helper costs 20 to 70 us to
wake, so it is woken only for a job larger than the caches, or when jobs come in quick succession;
in a training step, where a matrix product has just ended, medium arrays stay on the caller's core.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from threading import Lock, Thread
from typing import Any

import numpy as np
from numba import njit

from ...backend import usable_cores
from .atomics import add, call, exchange, load, store

THREADS_VARIABLE = "ONEPASS_NUM_THREADS"
MAX_THREADS = 16
POLLS = 100_000  # about 0.1 ms
QUICK_SUCCESSION = 1e-4  # seconds since the last job in which a helper is worth waking
LARGE = 64 << 20  # bytes; a job worth waking a sleeping helper for
MIN_CHUNK = 1 << 14  # elements
CHUNKS_PER_THREAD = 8

# The board, one cache line (8 words) for each group that is written together.
_CLAIM = 0  # generation << 32 | chunks not yet claimed
_DONE = 8  # chunks ended
_FUNCTION, _SIZE, _CHUNK, _JOB = 16, 17, 18, 19
_LOW = (1 << 32) - 1


@njit("void(int64[::1])", nogil=True, cache=True)
def _work(board: Any) -> None:
    """Claim and run chunks until none is left. A claim fails if the job changed meanwhile."""
    while True:
        claim = load(board, _CLAIM)
        left = claim & _LOW
        if left == 0:
            return
        function, size, chunk, job = board[_FUNCTION], board[_SIZE], board[_CHUNK], board[_JOB]
        if exchange(board, _CLAIM, claim, claim - 1):
            low = (left - 1) * chunk
            call(function, low, min(low + chunk, size), job)
            add(board, _DONE, 1)


@njit("void(int64[::1], int64)", nogil=True, cache=True)
def _help(board: Any, polls: int) -> None:
    """Work on every job that comes until `polls` looks in a row found none."""
    idle = 0
    while idle < polls:
        if load(board, _CLAIM) & _LOW:
            _work(board)
            idle = 0
        idle += 1


@njit("boolean(int64[::1], int64, int64, int64, int64, int64)", nogil=True, cache=True)
def _lead(board: Any, function: int, size: int, chunk: int, job: int, polls: int) -> bool:
    """Post a job, work on it, and say whether all of it has ended."""
    board[_FUNCTION], board[_SIZE], board[_CHUNK], board[_JOB] = function, size, chunk, job
    chunks = (size + chunk - 1) // chunk
    store(board, _DONE, 0)
    store(board, _CLAIM, (((load(board, _CLAIM) >> 32) + 1) << 32) | chunks)
    _work(board)
    while load(board, _DONE) < chunks and polls > 0:
        polls -= 1
    return load(board, _DONE) == chunks


@njit("void(int64, int64, int64)", nogil=True, cache=True)
def _alone(function: int, size: int, job: int) -> None:
    call(function, 0, size, job)


class Crew:
    """The caller and `threads - 1` helpers, which start at the first job."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._board = np.zeros(24, dtype=np.int64)
        self._leading = Lock()
        self._asleep: list[Any] = []
        self._started = False
        self._last_end = 0.0
        self._kept: Any = None  # what the posted job reads and writes, kept alive until it ended
        self._chunks = 0

    def run(self, function: int, size: int, job: np.ndarray, kept: Any, nbytes: int) -> None:
        """Call `function`(low, high, job's address) over chunks of range(size), and wait.

        `kept` is held until the work has ended; `nbytes` is the memory that it walks through.
        """
        address = job.ctypes.data
        if self.threads == 1 or not self._leading.acquire(blocking=False):
            _alone(function, size, address)
            return
        try:
            self._finish()  # a job that an interrupt left
            self._start()
            if self._asleep and (
                nbytes >= LARGE or time.perf_counter() - self._last_end < QUICK_SUCCESSION
            ):
                while self._asleep:
                    self._asleep.pop().release()
            chunk = -(-size // (self.threads * CHUNKS_PER_THREAD))
            chunk = -(-max(chunk, MIN_CHUNK) // 1024) * 1024
            self._kept, self._chunks = (job, kept), -(-size // chunk)
            if not _lead(self._board, function, size, chunk, address, POLLS):
                self._finish()
            self._kept = None
            self._last_end = time.perf_counter()
        finally:
            self._leading.release()

    def _finish(self) -> None:
        while self._kept is not None and self._board[_DONE] < self._chunks:
            time.sleep(0)
        self._kept = None

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for k in range(1, self.threads):
                Thread(target=self._serve, name=f"onepass-{k}", daemon=True).start()

    def _serve(self) -> None:
        bell = Lock()
        bell.acquire()
        while True:
            _help(self._board, POLLS)
            self._asleep.append(bell)
            bell.acquire()


@lru_cache(maxsize=1)
def get_crew() -> Crew:
    """The crew of this process; ONEPASS_NUM_THREADS says of how many threads."""
    wished = os.environ.get(THREADS_VARIABLE, "").strip()
    if wished and (not wished.isdigit() or int(wished) < 1):
        raise ValueError(
            f"environment variable {THREADS_VARIABLE} is {wished!r}; expected a whole number >= 1"
        )
    return Crew(int(wished) if wished else min(usable_cores(), MAX_THREADS))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=get_crew.cache_clear)  # threads don't survive a fork
