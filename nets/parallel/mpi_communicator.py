"""Ranks that talk by MPI, through mpi4py: arrays of the CPU."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from time import monotonic, sleep
from typing import Any

import numpy as np

from ..types import Array, HostArray
from .communicator import Comm, Communicator, check_flat, counts
from .shards import Bounds

SIZES = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"
"""Variables in which launchers say how many processes they have started; Slurm's own is set where
they have nothing to do with one another, too."""

FORWARDED = 0.1
"""Seconds after which a launcher has forwarded what was printed: at the end of all it may not."""

PATIENCE = 1.0
"""Seconds in which all ranks fail alike, or one of them ends the others."""


def mpi() -> Any:
    """The module mpi4py.MPI, which starts MPI when it is first imported.

    Raises:
        ImportError: it is not installed, or finds no MPI.
    """
    try:
        return import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f'training on several processes needs mpi4py and an MPI: pip install "onepass[mpi]" '
            f"({error}). For one process alone, unset what a launcher has left: {', '.join(SIZES)}"
        ) from error


def launched() -> bool:
    """Whether a launcher such as mpiexec has started several processes, of which this is one."""
    names = (*SIZES, *(("SLURM_STEP_NUM_TASKS",) if "PMIX_RANK" in os.environ else ()))
    sizes = (os.environ.get(name, "") for name in names)
    return any(size.isdigit() and int(size) > 1 for size in sizes)


def all_come(comm: Comm) -> bool:
    """Whether all ranks of `comm` come here within PATIENCE."""
    request, end = comm.Ibarrier(), monotonic() + PATIENCE
    while not request.Test():
        if monotonic() > end:
            return False
        sleep(0.01)
    return True


def end_all(comm: Comm, status: int) -> None:
    """End the processes of all ranks, once a launcher has forwarded what was printed."""
    sys.stdout.flush()
    sys.stderr.flush()
    sleep(FORWARDED)
    comm.Abort(status)
    os._exit(status)  # MPICH's may return, and its launcher takes some milliseconds


class MpiCommunicator(Communicator):
    """An intracommunicator of mpi4py; its own messages do not mix with those of the user's.

    Sums of float16 are made in float32, since MPI has no float16.

    Args:
        comm: such as MPI.COMM_WORLD; all of its ranks make one.
    """

    def __init__(self, comm: Comm) -> None:
        self._mpi = mpi()
        self._comm = comm.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        local = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        self._machine: int = local.bcast(self.rank)
        local.Free()
        self._room: HostArray = np.empty(0)

    def sum_parts(self, array: Array, bounds: Bounds) -> None:
        check_flat(array)
        self._count(array, bounds)
        if self.size == 1:
            return
        own = slice(bounds[self.rank], bounds[self.rank + 1])
        given = array.astype(np.float32) if array.dtype == np.float16 else array
        if self._room.shape != (own.stop - own.start,) or self._room.dtype != given.dtype:
            self._room = np.empty(own.stop - own.start, given.dtype)
        self._comm.Reduce_scatter(given, self._room, counts(bounds))
        with np.errstate(over="ignore"):
            array[own] = self._room

    def gather_parts(self, array: Array, bounds: Bounds) -> None:
        """Equal parts by one all-gather, which takes a third of the time of one of parts that may
        differ (MPICH 5, from 1e4 numbers on); what the last has beyond them by a broadcast."""
        check_flat(array)
        self._count(array, bounds)
        if self.size == 1:
            return
        numbers, each = _sendable(array), bounds[1] - bounds[0]
        whole = each * self.size
        if each:
            places = [numbers[:whole], each, self._mpi_type(numbers)]
            self._comm.Allgather(self._mpi.IN_PLACE, places)
        if array.size > whole:
            self._comm.Bcast(numbers[whole:], root=self.size - 1)

    def gathered(self, array: Array) -> Array:
        own = np.ascontiguousarray(array)
        found = np.empty((self.size, *array.shape), own.dtype)
        self.sent += (self.size - 1) * own.nbytes
        self._comm.Allgather(_sendable(own), _sendable(found))
        return found

    def take_from_first(self, array: Array) -> None:
        found = np.ascontiguousarray(array)
        self._comm.Bcast(_sendable(found))
        if found is not array:
            array[...] = found.reshape(array.shape)

    def sum_numbers(self, numbers: HostArray) -> HostArray:
        found = np.empty_like(numbers)
        self._comm.Allreduce(numbers, found)
        return found

    def objects(self, value: Any) -> list[Any]:
        found: list[Any] = self._comm.allgather(value)
        return found

    def all_come(self) -> bool:
        return all_come(self._comm)

    def object_from_first(self, value: Any) -> Any:
        return self._comm.bcast(value)

    def abort(self) -> None:
        end_all(self._comm, 1)

    def close(self) -> None:
        if self._comm != self._mpi.COMM_NULL:
            self._comm.Free()

    def _mpi_type(self, array: HostArray) -> Any:
        return self._mpi.Datatype.fromcode(array.dtype.char)


def _sendable(array: HostArray) -> HostArray:
    """The same memory in a dtype that MPI has."""
    flat = array.reshape(-1)
    return flat.view(np.uint16) if flat.dtype == np.float16 else flat
