"""The board on which a crew posts its jobs, and the compiled code that works through them.

A job is a C function void(low, high, job) over a range of elements, cut into chunks; every thread
of the crew has a share of the chunks and claims them one by one, then those that others left.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiling.jit import njit
from .atomics import add, call, exchange, load, store

# The board: words that are written together share a cache line (8 words), no others do.
_POSTED = 0  # jobs so far
_DONE = 8  # chunks that ended
_FUNCTION, _SIZE, _CHUNK, _JOB, _CHUNKS, _THREADS = 16, 17, 18, 19, 20, 21
_OPEN = 22  # whether a list of jobs is being worked through: the next one comes at once
_CLAIMS = 24  # one line for each thread's share: generation << 32 | chunks not yet claimed
_LINE = 8
_LOW = (1 << 32) - 1


def new_board(threads: int) -> np.ndarray:
    """A board with no job on it."""
    return np.zeros(_CLAIMS + _LINE * threads, dtype=np.int64)


def unended(board: np.ndarray) -> bool:
    """Whether chunks of the posted job are still being worked on."""
    return bool(board[_DONE] < board[_CHUNKS])


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
def serve(board: Any, rank: int, polls: int) -> None:
    """Work on every job that comes until `polls` looks in a row found none."""
    seen, idle = -1, 0
    while idle < polls:
        posted = load(board, _POSTED)
        if posted != seen:
            _work(board, rank)
            seen, idle = posted, 0
        elif load(board, _OPEN) or load(board, _DONE) < load(board, _CHUNKS):
            idle = 0  # more is to come, or others are still at their last chunks
        idle += 1


@njit("boolean(int64[::1], int64, int64, int64, int64, int64, int64)", nogil=True)
def lead(
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


# Words of an instruction: a C function void(low, high, job), the size of its range, of a chunk of
# it (0: the leader does all of it), the address of its job, and the polls that a helper may take
# for a chunk.
FUNCTION, SIZE, CHUNK, JOB, POLLS = range(5)
# Words of a clock: the step, its next instruction, and whether one of them asked to stop.
STEP, NEXT, STOP = range(3)


@njit("boolean(int64[::1], int64, int64[:, ::1], int64[::1], int64)", nogil=True)
def follow(board: Any, threads: int, instructions: Any, clock: Any, end: int) -> bool:
    """Work through all instructions once a step, until the clock shows `end` or one asks to stop.

    False where helpers kept the leader waiting: wait for them, and call it again to go on.
    """
    ended = True
    if threads > 1:
        store(board, _OPEN, 1)
    while ended and clock[STEP] < end and not clock[STOP]:
        if clock[NEXT] == len(instructions):
            clock[NEXT] = 0
            clock[STEP] += 1
            continue
        it = instructions[clock[NEXT]]
        clock[NEXT] += 1
        if threads > 1 and it[CHUNK]:
            ended = lead(board, threads, it[FUNCTION], it[SIZE], it[CHUNK], it[JOB], it[POLLS])
        else:
            call(it[FUNCTION], 0, it[SIZE], it[JOB])
    if threads > 1:
        store(board, _OPEN, 0)
    return ended


@njit("void(int64, int64, int64)", nogil=True)
def run_alone(function: int, size: int, job: int) -> None:
    call(function, 0, size, job)
