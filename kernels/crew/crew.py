"""A crew of threads that share one loop over a large array and never keep anyone waiting.

Numba's own thread layers were measured and left: OpenMP's spins while it waits and stalls for
milliseconds beside BLAS, the portable one ends the process when two threads call it at once.

Here the caller does the work itself, a chunk at a time, and helpers take chunks beside it. A helper
that comes late finds nothing left: the caller waits only for chunks that are being worked on.
Between jobs a helper polls for about 0.2 ms and then sleeps; waking it costs as much as a small
step, so only large arrays wake it. Middling ones take what help is awake, which is so where many
steps follow one another. If a helper kept the caller waiting after all (another
process had its core), the caller works alone for a while.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from threading import Lock, RLock, Thread
from time import perf_counter_ns
from typing import Any

import numpy as np

from .board import NEXT, STEP, STOP, follow, lead, new_board, run_alone, serve, unended
from .pace import Pace
from .threads import get_num_threads, when_changed

POLLS = 200_000  # about 0.2 ms
PATIENCE = 250_000  # polls, plus one for 4 elements, after which a helper holds the caller up
MAX_REST = 64  # jobs that the caller then does alone: 1, at once again 2, 4, ... up to this
MIN_CHUNK = 1 << 14  # elements
CHUNKS_PER_THREAD = 16
NAP = 2e-5  # seconds: a sleep, so that a helper that lacks a core finds the caller's
CLOSE = 100_000  # nanoseconds after one loop within which the next one follows at once
HELPED = 1 << 20  # bytes of a loop's arrays from which helpers share it if they are awake
SHARED = 6 << 20  # bytes from which they are woken for it
REFUSED, ENDED, UNENDED = 0, 1, 2  # what becomes of a posted loop

Posting = Callable[[np.ndarray, int, int, int, np.ndarray], int]


class Crew:
    """The caller and `threads - 1` helpers, which start at the first job."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._board = new_board(threads)
        self._leading = Lock()
        self._asleep: list[Any] = []
        self._helpers: list[Thread] = []
        self._core: int | None = None  # the one that helpers keep off
        self._kept: Any = None  # what the posted job reads and writes, kept alive until it ended
        self._rest = 0  # jobs still to be done alone
        self._next_rest = 1
        self._last = 0  # when the last loop ended that could have been shared
        self._dismissed = False

    def alone(self, function: int, size: int, job: np.ndarray) -> None:
        """Call `function`(0, size, job's address) in this thread."""
        run_alone(function, size, job.ctypes.data)

    def run(
        self,
        function: int,
        size: int,
        job: np.ndarray,
        kept: Any,
        chunk: int | None = None,
        elements: int | None = None,
        wake: bool = True,
    ) -> None:
        """Call `function`(low, high, job's address) over chunks of range(size), and wait.

        Args:
            kept: held until the work has ended.
            chunk: how many of `size` at a time; by default `size` counts elements, and thousands
                of them make a chunk.
            elements: how many there are in all, where `size` counts something else.
            wake: whether helpers are worth waking, as `post` has it.
        """
        if not self._take(wake):
            run_alone(function, size, job.ctypes.data)
            if not wake:
                self.ended()
            return
        try:
            if chunk is None:
                chunk = self._chunk(size, MIN_CHUNK if wake else MIN_CHUNK // 4)
            self._kept = (job, kept)
            patience = PATIENCE + (size if elements is None else elements) // 4
            self._settle(
                lead(self._board, self.threads, function, size, chunk, job.ctypes.data, patience)
            )
        finally:
            self._leading.release()
            if not wake:
                self.ended()

    def post(self, posting: Posting, size: int, words: int, kept: Any, wake: bool) -> int | None:
        """Share a loop that compiled code checks and posts itself, in a microsecond or two.

        Args:
            posting: (board, threads, chunk, patience, job) -> REFUSED, ENDED or UNENDED; calls
                `lead`, or refuses before anything is written.
            size: elements.
            words: length of the job that it fills.
            kept: held until the work has ended.
            wake: whether helpers are worth waking; if not, they help only if they are awake, and
                are woken for the next loop where one follows another at once.

        Returns:
            What `posting` returned; None if the caller had better do it alone.
        """
        if not self._take(wake):
            return None
        try:
            job = np.empty(words, dtype=np.int64)
            self._kept = (job, kept)
            patience = PATIENCE + size // 4
            chunk = self._chunk(size, MIN_CHUNK if wake else MIN_CHUNK // 4)
            state = posting(self._board, self.threads, chunk, patience, job)
            self._settle(state != UNENDED)
            return state
        finally:
            self._leading.release()
            self.ended()

    def follow(
        self, instructions: np.ndarray, clock: np.ndarray, end: int, kept: Any, pace: Pace
    ) -> None:
        """Work through `instructions` once a step until the clock shows `end`, or one stops it.

        Helpers stay awake all the while, unless the caller is quicker without them.

        Args:
            instructions, clock: as `board.follow` takes them.
            kept: held until the work has ended.
            pace: of these instructions so far.
        """
        while clock[STEP] < end and not clock[STOP]:
            start, done = perf_counter_ns(), _steps(instructions, clock)
            leads = start >= pace.alone_until and self._take(wake=True)
            threads, held_up = self.threads if leads else 1, False
            try:
                if leads:
                    self._kept = kept
                held_up = not follow(self._board, threads, instructions, clock, end)
            finally:
                if leads:
                    self._finish()
                    self._leading.release()
            now = perf_counter_ns()
            steps = _steps(instructions, clock) - done
            if pause := pace.took(leads, now - start, steps, held_up):
                pace.alone_until = now + pause

    def ended(self) -> None:
        """Remember that a loop ended now which helpers could have shared."""
        self._last = perf_counter_ns()

    def dismiss(self) -> None:
        """Let the helpers end. The running job ends as it began, what still comes is done alone."""
        self._dismissed = True
        self._ring()

    def _take(self, wake: bool) -> bool:
        """Become the one who leads, if no other caller is and helpers are there for it."""
        if self.threads == 1 or self._dismissed or not self._leading.acquire(blocking=False):
            return False
        ready = False
        try:
            self._finish()  # a job that an interrupt left
            if self._rest:
                self._rest -= 1
            else:
                ready = self._gather(wake)
        finally:
            if not ready:
                self._leading.release()
        return ready

    def _gather(self, wake: bool) -> bool:
        """Whether helpers are awake, or were woken because `wake` says so."""
        if not wake and perf_counter_ns() - self._last > CLOSE:
            return bool(self._helpers) and not self._asleep
        self._start()
        if not self._asleep:
            return True
        self._wake()
        return wake

    def _chunk(self, size: int, least: int) -> int:
        """Elements of a chunk, a multiple of 1024."""
        chunk = -(-size // (self.threads * CHUNKS_PER_THREAD))
        return -(-max(chunk, least) // 1024) * 1024

    def _settle(self, ended: bool) -> None:
        """After a job: let go of it, or wait for helpers and do without them for a while."""
        if ended:
            self._next_rest = 1
        else:
            self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, MAX_REST)
            self._finish()
        self._kept = None

    def _wake(self) -> None:
        self._make_room()
        self._ring()

    def _ring(self) -> None:
        while True:
            try:
                bell = self._asleep.pop()
            except IndexError:  # all are awake
                return
            bell.release()

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
                    with suppress(ProcessLookupError):  # it was dismissed meanwhile
                        os.sched_setaffinity(helper.native_id, others)
        self._core = core

    def _finish(self) -> None:
        while unended(self._board):
            time.sleep(NAP)
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
        while not self._dismissed:
            serve(self._board, rank, POLLS)
            self._asleep.append(bell)
            if unended(self._board) or self._dismissed:  # since the last look
                try:
                    self._asleep.remove(bell)
                    continue
                except ValueError:  # the caller has it and rings
                    pass
            bell.acquire()


def _steps(instructions: np.ndarray, clock: np.ndarray) -> float:
    """Steps that are done, with what is done of the present one."""
    return float(clock[STEP]) + float(clock[NEXT]) / len(instructions)


@cache
def _core_reader() -> Callable[[], int] | None:
    """glibc's sched_getcpu, where there is one."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    return getattr(ctypes.CDLL(None), "sched_getcpu", None)


def _current_core() -> int | None:
    reader = _core_reader()
    return None if reader is None else reader()


_crew: Crew | None = None
_changing = RLock()  # a signal's handler may come back to it


def get_crew() -> Crew:
    """The crew of this process, of as many threads as `get_num_threads` says."""
    return _crew or _new_crew()


def _new_crew() -> Crew:
    global _crew
    with _changing:
        if _crew is None:
            _crew = Crew(get_num_threads())
        return _crew


def _dismiss() -> None:
    """The next job gets a crew of another size."""
    global _crew
    with _changing:
        crew, _crew = _crew, None
    if crew is not None:
        crew.dismiss()


def _after_fork() -> None:
    """Threads don't survive a fork, and another thread may have held the lock."""
    global _crew, _changing
    _crew, _changing = None, RLock()


when_changed(_dismiss)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
