"""The ranks of one call that trains: begun together, and ended together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..network.sequential import Sequential
from ..optimizers.frame.optimizer import Optimizer
from .communicator import Comm
from .data_parallel import DataParallel
from .same_everywhere import check_same


@contextmanager
def trained_together(
    net: Sequential, optimizer: Optimizer, comm: Comm | DataParallel | None, sharded: bool
) -> Iterator[DataParallel | None]:
    """The ranks of `comm` for a block, or None where there is none.

    An exception that leaves the block on one rank is told to all of them, or ends them.

    Raises:
        TypeError, ValueError, ImportError: as `DataParallel`; `comm` is one of another network.
    """
    if comm is None:
        if sharded is not False:
            raise ValueError(f"sharded is {sharded!r} without comm; expected comm=, to share among")
        yield None
        return
    given = isinstance(comm, DataParallel)
    ranks = comm if given else DataParallel(net, optimizer, comm, sharded=sharded)
    try:
        if given:
            with ranks.agreement.together():
                _check_of(ranks, net, optimizer, sharded)
        yield ranks
    except BaseException as error:
        ranks.agreement.leave(error)
        raise
    finally:
        if not given:
            ranks.close()


def _check_of(ranks: DataParallel, net: Sequential, optimizer: Optimizer, sharded: bool) -> None:
    if ranks.net is not net or ranks.optimizer is not optimizer:
        raise ValueError("comm is a DataParallel of another network or optimizer; expected its own")
    if not ranks.open:
        raise ValueError("comm is a DataParallel that was closed; expected an open one")
    if sharded is not False and sharded != ranks.sharded:
        raise ValueError(
            f"sharded is {sharded!r}, but comm is a DataParallel with sharded={ranks.sharded}; "
            "expected the same, or to be left out"
        )


@contextmanager
def all_or_none(ranks: DataParallel | None) -> Iterator[None]:
    """A block of checks, after which all ranks go on, or none; batch norms see this rank alone."""
    if ranks is None:
        yield
        return
    with ranks.agreement.together(), ranks.apart():
        yield


def alike(ranks: DataParallel, facts: Mapping[str, Any], rng: np.random.Generator) -> None:
    """Refuse facts that are not the same on all ranks, and let all go on with rank 0's draws."""
    check_same(ranks.agreement, facts)
    rng.bit_generator.state = ranks.communicator.object_from_first(rng.bit_generator.state)
