"""Ranks with a GPU each, whose arrays are carried by NCCL; MPI starts it, and carries words."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ...backend import backend_of
from ...backend.failures import first_line
from ..types import Array
from .agreement import Agreement
from .communicator import Comm, check_flat
from .mpi_communicator import MpiCommunicator
from .shards import Bounds


class _Place(NamedTuple):
    """A GPU of a rank; or why it has none that NCCL can use.

    Attributes:
        bus_id: where it is in the machine, whatever number it has for the rank.
        missing: NCCL is; `why` is then no fault of the GPU.
    """

    machine: int
    host: str
    device: int
    bus_id: str = ""
    name: Any = None
    why: str = ""
    missing: bool = False


class NcclCommunicator(MpiCommunicator):
    """Collectives of NCCL, through CuPy, on the current stream: nothing is waited for.

    Sums of float16 are made in float16.

    Args:
        comm: an intracommunicator of mpi4py; all of its ranks make one.
        device: the number of this rank's GPU, which no other rank may have.

    Raises:
        ImportError: CuPy has no NCCL on one of the ranks; said on all of them.
        RuntimeError: a rank can't use its GPU, likewise.
        ValueError: two ranks have one GPU, likewise. Where NCCL itself fails to begin on a rank,
            that one tells why and ends them all, since the others wait for it.
    """

    def __init__(self, comm: Comm, device: int) -> None:
        super().__init__(comm)
        try:
            places: list[_Place] = self.objects(self._place(device))
            _check_places(places)
        except BaseException:
            super().close()
            raise
        try:
            with self._device:
                self._carrier = self._nccl.NcclCommunicator(self.size, places[0].name, self.rank)
        except Exception as error:
            Agreement(self).end_all(error)
            super().close()
            raise
        kinds = {"e": "NCCL_FLOAT16", "f": "NCCL_FLOAT32", "d": "NCCL_FLOAT64"}
        self._kinds = {char: getattr(self._nccl, kind) for char, kind in kinds.items()}

    def sum_parts(self, array: Array, bounds: Bounds) -> None:
        """Equal parts by one reduce-scatter; what the last rank has beyond them by a reduce."""
        check_flat(array)
        kind, size, add = self._kinds[array.dtype.char], array.dtype.itemsize, self._nccl.NCCL_SUM
        each = self._equal_part(array, bounds)
        whole = each * self.size
        with self._on_stream_of(array) as stream, self._group():
            self._count(array, bounds)
            start = array.data.ptr
            if each:
                own = start + self.rank * each * size
                self._carrier.reduceScatter(start, own, each, kind, add, stream)
            if array.size > whole:
                rest, last = start + whole * size, self.size - 1
                self._carrier.reduce(rest, rest, array.size - whole, kind, add, last, stream)

    def gather_parts(self, array: Array, bounds: Bounds) -> None:
        """Equal parts by one all-gather; what the last rank has beyond them by a broadcast."""
        check_flat(array)
        kind, size = self._kinds[array.dtype.char], array.dtype.itemsize
        each = self._equal_part(array, bounds)
        whole = each * self.size
        with self._on_stream_of(array) as stream, self._group():
            self._count(array, bounds)
            start = array.data.ptr
            if each:
                own = start + self.rank * each * size
                self._carrier.allGather(own, start, each, kind, stream)
            if array.size > whole:
                rest, last = start + whole * size, self.size - 1
                self._carrier.bcast(rest, array.size - whole, kind, last, stream)

    def gathered(self, array: Array) -> Array:
        if isinstance(array, np.ndarray):
            return super().gathered(array)
        with self._on_stream_of(array) as stream:
            backend = backend_of(array)
            own = backend.xp.ascontiguousarray(array)
            found = backend.empty((self.size, *array.shape), own.dtype)
            self.sent += (self.size - 1) * own.nbytes
            bytes_ = self._nccl.NCCL_UINT8
            self._carrier.allGather(own.data.ptr, found.data.ptr, own.nbytes, bytes_, stream)
        return found

    def take_from_first(self, array: Array) -> None:
        if isinstance(array, np.ndarray):
            super().take_from_first(array)
            return
        with self._on_stream_of(array) as stream:
            found = backend_of(array).xp.ascontiguousarray(array)
            self._carrier.bcast(found.data.ptr, found.nbytes, self._nccl.NCCL_UINT8, 0, stream)
            if found is not array:
                array[...] = found.reshape(array.shape)

    def close(self) -> None:
        self._carrier.destroy()
        super().close()

    def _place(self, device: int) -> _Place:
        """What the others are to know before NCCL begins: nothing is raised here."""
        place = _Place(self._machine, platform.node(), device)
        try:
            self._nccl = _nccl()
            import cupy

            self._device = cupy.cuda.Device(device)
            place = place._replace(bus_id=self._device.pci_bus_id)
            if self.rank == 0:
                with self._device:
                    place = place._replace(name=self._nccl.get_unique_id())
        except Exception as error:
            missing = isinstance(error, ImportError)
            return place._replace(why=first_line(error), missing=missing)
        return place

    def _equal_part(self, array: Array, bounds: Bounds) -> int:
        """How many elements each rank's part has, but for the rest that the last one has too."""
        return bounds[1] - bounds[0] if self.size > 1 else int(array.size)

    @contextmanager
    def _on_stream_of(self, array: Array) -> Iterator[int]:
        """The current stream of this communicator's GPU, where the array is to be."""
        backend, here = backend_of(array), f"cuda:{self._device.id}"
        if backend.device != here:
            raise ValueError(
                f"the array is on {backend.device}, but NCCL was started for {here}; expected the "
                "network to stay there as long as ranks train it together"
            )
        with backend.scope():
            import cupy

            yield int(cupy.cuda.get_current_stream().ptr)

    @contextmanager
    def _group(self) -> Iterator[None]:
        """What is asked for inside goes out together; a group is ended whatever happens."""
        self._nccl.groupStart()
        try:
            yield
        finally:
            self._nccl.groupEnd()


def _nccl() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy's says what the error below says
        from cupy.cuda import nccl

    if not getattr(nccl, "available", True):
        raise ImportError(
            "CuPy finds no NCCL; expected a wheel of it: pip install nvidia-nccl-cu13 (or -cu12)"
        )
    return nccl


def _check_places(places: list[_Place]) -> None:
    """Raise the same on all ranks, unless each has a GPU of its own."""
    taken: dict[tuple[int, str], int] = {}
    for rank, place in enumerate(places):
        gpu = f"cuda:{place.device} of {place.host}"
        if place.missing:
            raise ImportError(f"rank {rank}: {place.why}")
        if place.why:
            raise RuntimeError(f"rank {rank} can't start NCCL on {gpu}: {place.why}")
        other = taken.setdefault((place.machine, place.bus_id), rank)
        if other != rank:
            raise ValueError(
                f"ranks {other} and {rank} both have {gpu}; expected a GPU for each: "
                "local_device(comm) gives the one of this rank"
            )
