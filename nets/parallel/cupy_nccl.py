"""Ranks with a GPU each, whose arrays are carried by NCCL; MPI starts it, and carries words."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np

from ...backend import backend_of
from ..types import Array
from .communicator import Comm, check_flat
from .mpi_communicator import MpiCommunicator
from .shards import Bounds


class NcclCommunicator(MpiCommunicator):
    """Collectives of NCCL, through CuPy, on the current stream: nothing is waited for.

    Args:
        comm: an intracommunicator of mpi4py; all of its ranks make one.
        device: the number of this rank's GPU, which no other rank of this machine may have.

    Raises:
        ImportError: CuPy has no NCCL.
        ValueError: two ranks have one GPU; said on all of them.
    """

    def __init__(self, comm: Comm, device: int) -> None:
        super().__init__(comm)
        try:
            self._nccl = _nccl()
        except ImportError as error:
            missing: str | None = str(error)
        else:
            missing = None
        places = self.objects((socket.gethostname(), device, missing))
        for rank, (_, _, why) in enumerate(places):
            if why is not None:
                raise ImportError(f"rank {rank}: {why}")
        taken: dict[tuple[str, int], int] = {}
        for rank, (host, number, _) in enumerate(places):
            other = taken.setdefault((host, number), rank)
            if other != rank:
                raise ValueError(
                    f"ranks {other} and {rank} both have cuda:{number} of {host}; expected a GPU "
                    "for each: local_device(comm) gives the one of this rank"
                )
        import cupy

        self._device = cupy.cuda.Device(device)
        with self._device:
            name = self.object_from_first(self._nccl.get_unique_id() if self.rank == 0 else None)
            self._carrier = self._nccl.NcclCommunicator(self.size, name, self.rank)
        kinds = {"e": "NCCL_FLOAT16", "f": "NCCL_FLOAT32", "d": "NCCL_FLOAT64"}
        self._kinds = {char: getattr(self._nccl, kind) for char, kind in kinds.items()}

    def sum_parts(self, array: Array, bounds: Bounds) -> None:
        """Equal parts by one reduce-scatter; what the last rank has beyond them by a reduce."""
        check_flat(array)
        self._count(array, bounds)
        kind, size, add = self._kinds[array.dtype.char], array.dtype.itemsize, self._nccl.NCCL_SUM
        each, start = bounds[1] - bounds[0] if self.size > 1 else array.size, array.data.ptr
        whole = each * self.size
        with backend_of(array).scope():
            stream = _stream()
            self._nccl.groupStart()
            if each:
                own = start + bounds[self.rank] * size
                self._carrier.reduceScatter(start, own, each, kind, add, stream)
            if array.size > whole:
                rest = start + whole * size
                self._carrier.reduce(
                    rest, rest, array.size - whole, kind, add, self.size - 1, stream
                )
            self._nccl.groupEnd()

    def gather_parts(self, array: Array, bounds: Bounds) -> None:
        """Equal parts by one all-gather; what the last rank has beyond them by a broadcast."""
        check_flat(array)
        self._count(array, bounds)
        kind, size, start = self._kinds[array.dtype.char], array.dtype.itemsize, array.data.ptr
        each = bounds[1] - bounds[0] if self.size > 1 else array.size
        whole = each * self.size
        with backend_of(array).scope():
            stream = _stream()
            self._nccl.groupStart()
            if each:
                own = start + bounds[self.rank] * size
                self._carrier.allGather(own, start, each, kind, stream)
            if array.size > whole:
                rest = start + whole * size
                self._carrier.bcast(rest, array.size - whole, kind, self.size - 1, stream)
            self._nccl.groupEnd()

    def gathered(self, array: Array) -> Array:
        if isinstance(array, np.ndarray):
            return super().gathered(array)
        backend = backend_of(array)
        with backend.scope():
            own = backend.xp.ascontiguousarray(array)
            found = backend.empty((self.size, *own.shape), own.dtype)
            self.sent += (self.size - 1) * own.nbytes
            count = own.nbytes
            bytes_ = self._nccl.NCCL_UINT8
            self._carrier.allGather(own.data.ptr, found.data.ptr, count, bytes_, _stream())
        return found

    def take_from_first(self, array: Array) -> None:
        if isinstance(array, np.ndarray):
            super().take_from_first(array)
            return
        backend = backend_of(array)
        with backend.scope():
            found = backend.xp.ascontiguousarray(array)
            self._carrier.bcast(found.data.ptr, found.nbytes, self._nccl.NCCL_UINT8, 0, _stream())
            if found is not array:
                array[...] = found

    def close(self) -> None:
        self._carrier.destroy()
        super().close()


def _nccl() -> Any:
    from cupy.cuda import nccl

    if not getattr(nccl, "available", True):
        raise ImportError(
            "CuPy finds no NCCL; expected a wheel of it: pip install nvidia-nccl-cu13 (or -cu12)"
        )
    return nccl


def _stream() -> int:
    import cupy

    return int(cupy.cuda.get_current_stream().ptr)
