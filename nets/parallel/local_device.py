"""The device of one rank among those of its machine."""

from __future__ import annotations

import platform
from collections.abc import Hashable, Sequence
from typing import Any

from ...backend import Backend
from ...backend.devices import ENVIRONMENT_VARIABLE, bus_ids, parse_device, probe_cuda
from ...backend.select import chosen_device
from ..types import Device
from .communicator import Comm, Communicator
from .mpi_communicator import mpi


def local_device(comm: Comm, device: Device = "auto") -> Device:
    """A GPU for each rank: "cuda:K" for the K-th rank of a machine that sees all of its GPUs.

    Where a launcher shows each rank some of them, as Slurm does, each takes one that no other has.

    Args:
        comm: an intracommunicator of mpi4py, or a `Communicator`; all of its ranks call this.
        device: "auto": what ONEPASS_DEVICE or `use_device` says, else a GPU where all ranks find
            one each that they can use, else the CPU; "cuda": a GPU; anything else stays as it is.

    Raises:
        ValueError: `device` or ONEPASS_DEVICE is no device.
    """
    kind, number = parse_device(device.device if isinstance(device, Backend) else device)
    if kind == "auto":
        device = chosen_device()
        kind, number = parse_device(device, f"environment variable {ENVIRONMENT_VARIABLE}")
    chosen = kind == "cpu" or number is not None
    rank, places = _places(comm, () if chosen else bus_ids())
    own = shared_out(places)[rank]
    usable = kind == "cuda"
    if kind == "auto" and own is not None:
        usable = probe_cuda(own).available
    all_usable = all(_told(comm, usable))  # asked by all, whatever they were given
    if chosen:
        return device
    if kind == "auto" and not all_usable:
        return "cpu"
    if own is None:  # a number beyond those that there are, or another rank's: refused by its name
        own = [machine for machine, _ in places[:rank]].count(places[rank][0])
    return f"cuda:{own}"


def shared_out(places: Sequence[tuple[Hashable, Sequence[str]]]) -> list[int | None]:
    """Which of its GPUs each rank takes: the first that no rank before has.

    Args:
        places: of each rank its machine, and the bus ids of the GPUs that it sees.
    """
    taken: set[tuple[Hashable, str]] = set()
    found: list[int | None] = []
    for machine, gpus in places:
        free = (k for k, gpu in enumerate(gpus) if (machine, gpu) not in taken)
        found.append(next(free, None))
        if found[-1] is not None:
            taken.add((machine, gpus[found[-1]]))
    return found


def _places(comm: Comm, gpus: Sequence[str]) -> tuple[int, list[tuple[Hashable, Sequence[str]]]]:
    """This rank, and what `shared_out` is to know of all."""
    machine: Hashable = platform.node()
    if not isinstance(comm, Communicator):
        local = comm.Split_type(mpi().COMM_TYPE_SHARED)
        machine = local.bcast(comm.rank)
        local.Free()
    return comm.rank, _told(comm, (machine, gpus))


def _told(comm: Comm, value: Any) -> list[Any]:
    found: list[Any] = (
        comm.objects(value) if isinstance(comm, Communicator) else comm.allgather(value)
    )
    return found


def shared_among(comm: Comm | None) -> str:
    """How many ranks train, in words that follow a device."""
    return "" if comm is None else f"; {comm.size} ranks, each on its part of every batch"
