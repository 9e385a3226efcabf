"""What carries arrays and words between ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np

from ..types import Array, HostArray
from .shards import Bounds

Comm: TypeAlias = Any
"""An intracommunicator of mpi4py, such as MPI.COMM_WORLD, or a `Communicator`."""


class Communicator(ABC):
    """Collectives among ranks: each is called by all of them, in the same order.

    What arrives is the same on all ranks, to the bit: parts of a sum are added up by one rank each,
    and handed round.

    Attributes:
        rank: the number of this process, from 0 on.
        size: how many there are.
        sent: bytes that this rank has sent by `sum_parts`, `gather_parts` and `gathered`, as a ring
            of ranks sends them: all parts but one for each.
    """

    rank: int
    size: int
    sent: int = 0

    @abstractmethod
    def sum_parts(self, array: Array, bounds: Bounds) -> None:
        """In place: of `array`, 1-d and of one size on all ranks, the part of this rank becomes the
        sum of that part over all ranks (reduce-scatter); the others are left as they are, or not.
        """

    @abstractmethod
    def gather_parts(self, array: Array, bounds: Bounds) -> None:
        """In place: each part of `array`, 1-d, becomes what its rank has (all-gather)."""

    @abstractmethod
    def gathered(self, array: Array) -> Array:
        """The arrays of all ranks, of one shape and dtype, stacked: (size, *array.shape)."""

    @abstractmethod
    def take_from_first(self, array: Array) -> None:
        """In place: `array` becomes rank 0's (broadcast)."""

    @abstractmethod
    def sum_numbers(self, numbers: HostArray) -> HostArray:
        """The sum of a few float64 over all ranks, on the host, the same on all of them."""

    @abstractmethod
    def objects(self, value: Any) -> list[Any]:
        """What each rank has given, in their order; it is pickled on its way."""

    def all_come(self) -> bool:
        """Whether all ranks call this within moments, of which some may wait for this one in a
        collective: then it is False, and they are to be ended."""
        return False

    @abstractmethod
    def abort(self) -> None:
        """End the processes of all ranks at once, with exit status 1."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; it is called by all ranks."""

    def object_from_first(self, value: Any) -> Any:
        """Rank 0's value, pickled likewise."""
        return self.objects(value if self.rank == 0 else None)[0]

    def _count(self, array: Array, bounds: Bounds) -> None:
        own = bounds[self.rank + 1] - bounds[self.rank]
        self.sent += (array.size - own) * array.dtype.itemsize

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank {self.rank} of {self.size})"


def check_flat(array: Array) -> None:
    """Refuse what has gaps, before the memory behind it is handed out."""
    if array.ndim != 1 or not array.flags.c_contiguous:
        raise ValueError(f"array has shape {array.shape}; expected one axis, without gaps")


def counts(bounds: Bounds) -> list[int]:
    """How long each part is."""
    return np.diff(bounds).tolist()
