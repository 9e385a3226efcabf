"""The device of one rank among those of its machine."""

from __future__ import annotations

from ...backend import Backend, get_backend
from ...backend.devices import parse_device, probe_gpus
from ..types import Device
from .communicator import Comm, Communicator
from .mpi_communicator import mpi


def local_device(comm: Comm, device: Device = "auto") -> Device:
    """A GPU for each rank: "cuda:K" for the K-th rank of a machine, as far as there are any.

    Args:
        comm: an intracommunicator of mpi4py, or a `Communicator`; all of its ranks call this.
        device: "auto": a GPU where all ranks of the machine find one each, else the CPU; "cuda":
            a GPU; anything else stays as it is.

    Raises:
        ValueError: `device` is no device.
    """
    if isinstance(device, Backend):
        return device
    kind, number = parse_device(device)
    if isinstance(comm, Communicator):
        rank, ranks = comm.local_rank, comm.local_size
    else:
        local = comm.Split_type(mpi().COMM_TYPE_SHARED)
        rank, ranks = local.rank, local.size
        local.Free()
    if number is not None or kind == "cpu":
        return device
    if kind == "auto" and get_backend(device).device == "cpu":
        return "cpu"
    if kind == "auto" and sum(gpu.available for gpu in probe_gpus()) < ranks:
        return "cpu"
    return f"cuda:{rank}"


def shared_among(comm: Comm | None) -> str:
    """How many ranks train, in words that follow a device."""
    return "" if comm is None else f"; {comm.size} ranks, each on its part of every batch"
