"""`onepass train` where a launcher such as mpiexec has started several of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from ..parallel.mpi_communicator import all_come, end_all, launched, mpi


def on_ranks(work: Callable[[Any], object]) -> None:
    """Call `work(comm)`: of several ranks, each with MPI's COMM_WORLD; rank 0 alone prints.

    Where all of them raise, as for an option that is wrong, rank 0's error is raised, and the
    others exit silently with the same status; where one does, it says so, and ends all.

    Raises:
        ImportError: several were started, but mpi4py is not installed.
    """
    comm = mpi().COMM_WORLD if launched() else None
    if comm is None or comm.size == 1:
        work(None)
        return
    if comm.rank:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - till the process ends
    try:
        work(comm)
    except KeyboardInterrupt:
        if comm.rank:
            raise SystemExit(130) from None
        raise
    except Exception as error:
        if not all_come(comm):
            text = f"onepass: rank {comm.rank} of {comm.size} failed, so all end: {error}"
            print(text, file=sys.stderr, flush=True)
            end_all(comm, 2)
        if comm.rank:
            raise SystemExit(2) from error
        raise
