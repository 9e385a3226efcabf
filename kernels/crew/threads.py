"""How many threads large arrays are shared among, and who said so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock

from ...backend.checks.numbers import count
from ...backend.machine.cores import allowed_cores, cpu_quota, usable_cores

VARIABLE = "ONEPASS_NUM_THREADS"
OTHERS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
"""Variables of other libraries that limit a whole process; the first that is a number holds."""
MAX_THREADS = 16  # where nobody says how many
MOST_THREADS = 1024  # that can be asked for


@dataclass(frozen=True)
class Threads:
    """A number of threads, and why it is this one: maybe neither a variable nor a call said so."""

    number: int
    reason: str
    said_by_nobody: bool = False


_threads: Threads | None = None
_chosen = False  # by `set_num_threads`
_changing = RLock()  # a signal's handler may come back to it
_listeners: list[Callable[[], None]] = []


def get_num_threads() -> int:
    """The number of threads that the CPU engine shares large arrays among, the caller's included.

    Returns:
        What `set_num_threads` set; else, from the first of these that is there,
        the environment variables ONEPASS_NUM_THREADS, NUMBA_NUM_THREADS and OMP_NUM_THREADS (which
        joblib sets in its processes); else the cores that this process may use, 16 at most. A
        quota of CPU time (`docker run --cpus=1.5`, a limit of Kubernetes) counts, rounded up.

    Raises:
        ValueError: ONEPASS_NUM_THREADS is not a whole number from 1 to 1024.

    Conventions: NUMBA_NUM_THREADS and OMP_NUM_THREADS are ignored where they are not a number from
        1 on, as Numba and OpenMP do; of OMP_NUM_THREADS=4,2 the first counts. The environment is
        read once, at the first use, and again in a forked process. The matrix products of captured
        training and prediction run on these threads too; NumPy's own products have threads of
        their own: OPENBLAS_NUM_THREADS, MKL_NUM_THREADS or threadpoolctl limit them.
    """
    return current_threads().number


def set_num_threads(n: int) -> None:
    """Share large arrays among `n` threads from now on, the caller's included, in this process.

    Results do not depend on it: every number of threads gives the same bits.

    Args:
        n: 1 (nothing is shared) to 1024. More than there are cores only slows things down.

    Raises:
        TypeError: n is not an integer.
        ValueError: n is below 1 or above 1024; nothing has changed.

    Conventions: as `torch.set_num_threads`. It may be called at any time, from any thread: calls
        that are at work end as they began, later ones use the new number, and the threads that
        are no longer wanted end. It outweighs the environment, and forked processes inherit it.
        The other engines, and NumPy's matrix products, are left alone.
    """
    global _threads, _chosen
    number = count("n", n)
    if number > MOST_THREADS:
        raise ValueError(f"n is {n!r}; expected at most {MOST_THREADS} threads")
    with _changing:
        before, _threads, _chosen = _threads, Threads(number, "set_num_threads"), True
    if before is None or before.number != number:
        _tell()


@contextmanager
def by_default(n: int) -> Iterator[None]:
    """A block with `n` threads where neither a variable nor `set_num_threads` has said how many."""
    global _threads
    with _changing:
        before = current_threads()
        changes = before.said_by_nobody and before.number != n
        if changes:
            _threads = Threads(n, "a share of the machine's cores", said_by_nobody=True)
    try:
        if changes:
            _tell()
        yield
    finally:
        with _changing:
            changed = changes and _threads is not None and _threads.said_by_nobody
            if changed:
                _threads = before
        if changed:
            _tell()


def _tell() -> None:
    for listener in _listeners:
        listener()


def when_changed(listener: Callable[[], None]) -> None:
    """Have `listener` called after every change of the number."""
    _listeners.append(listener)


def current_threads() -> Threads:
    """The number that holds, and its reason."""
    global _threads
    with _changing:
        if _threads is None:
            _threads = _by_default()
        return _threads


def _by_default() -> Threads:
    wished = os.environ.get(VARIABLE, "").strip()
    if wished:
        if _number(wished) is None or int(wished) > MOST_THREADS:
            raise ValueError(
                f"environment variable {VARIABLE} is {wished!r}; expected a whole number from 1 to "
                f"{MOST_THREADS}"
            )
        return Threads(int(wished), VARIABLE)
    for name in OTHERS:
        text = os.environ.get(name, "")
        if name == "OMP_NUM_THREADS":
            text = text.partition(",")[0]  # the rest is for parallel loops within parallel loops
        if (number := _number(text.strip())) is not None:
            return Threads(min(number, MOST_THREADS), name)
    cores = usable_cores()
    if cores > MAX_THREADS:
        return Threads(MAX_THREADS, f"of {cores} cores; {VARIABLE} may say more", True)
    if cores < allowed_cores():
        return Threads(cores, f"a limit on CPU time, of {cpu_quota():g} cores", True)
    return Threads(cores, "as many as the cores that this process may use", True)


def _number(text: str) -> int | None:
    """A whole number from 1 on; None for any other text."""
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    return None


def _after_fork() -> None:
    """What holds by default is found out anew: the child's cores and variables may be others."""
    global _threads, _changing
    _changing = RLock()  # another thread may have held it
    if not _chosen:
        _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
