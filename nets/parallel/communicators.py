"""Which communicator carries whose arrays."""

from __future__ import annotations

from ..network.sequential import Sequential
from .communicator import Comm, Communicator
from .cupy_nccl import NcclCommunicator
from .mpi_communicator import MpiCommunicator, mpi


def communicator_of(comm: Comm, net: Sequential) -> Communicator:
    """What carries the arrays of a network between the ranks of `comm`.

    Raises:
        TypeError: it is no communicator.
        ValueError: the networks of some ranks are on a GPU, those of others on the CPU.
        ImportError: what it takes is not installed.
    """
    if isinstance(comm, Communicator):
        return comm
    if not type(comm).__module__.startswith("mpi4py") or not isinstance(comm, mpi().Intracomm):
        raise TypeError(
            f"comm is {comm!r}; expected an intracommunicator of mpi4py such as "
            "mpi4py.MPI.COMM_WORLD, or a Communicator"
        )
    device = net.backend.device if isinstance(net, Sequential) else "cpu"  # refused by all ranks
    kind, _, number = device.partition(":")
    devices = comm.allgather(device)
    for rank, other in enumerate(devices):
        if other.partition(":")[0] != devices[0].partition(":")[0]:
            raise ValueError(
                f"rank {rank} has its network on {other}, rank 0 on {devices[0]}; expected the "
                "CPU for all, or a GPU for each: local_device(comm) gives it"
            )
    return MpiCommunicator(comm) if kind == "cpu" else NcclCommunicator(comm, int(number or 0))
