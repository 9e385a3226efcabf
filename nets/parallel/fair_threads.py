"""Threads of ranks that share a machine: each core has one, where nobody says otherwise."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from ...backend.machine.cores import allowed_cores, cpu_quota
from ...kernels.crew.threads import by_default
from .communicator import Communicator

BLAS_VARIABLES = "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"


def fair_share(cores: Sequence[frozenset[int]], rank: int, quota: float | None = None) -> int:
    """How many threads a rank should have, of those that share a machine.

    Args:
        cores: for each of them the cores on which it may run.
        rank: which of them.
        quota: cores of time that all of them together may use; None: no limit.
    """
    users = Counter(core for each in cores for core in each)
    share = sum(1 / users[core] for core in cores[rank])
    if quota is not None:
        share = min(share, quota / len(cores))
    return max(1, int(share + 1e-9))


@contextmanager
def fair_threads(communicator: Communicator) -> Iterator[None]:
    """Inside, kernels and BLAS have this rank's fair share of the machine's cores."""
    own = _cores()
    hosts = communicator.objects((platform.node(), own))
    here = [rank for rank, (host, _) in enumerate(hosts) if host == platform.node()]
    cores = [hosts[rank][1] for rank in here]
    share = fair_share(cores, here.index(communicator.rank), cpu_quota())
    with ExitStack() as stack:
        if len(here) > 1:
            stack.enter_context(by_default(share))
            if not any(os.environ.get(name) for name in BLAS_VARIABLES):
                from threadpoolctl import ThreadpoolController

                every = ThreadpoolController().select(user_api="blas")
                more = [each["filepath"] for each in every.info() if each["num_threads"] > share]
                stack.enter_context(every.select(filepath=more).limit(limits=share))
        yield


def _cores() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(allowed_cores()))
