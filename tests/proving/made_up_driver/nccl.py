"""The made-up NCCL: collectives carried by MPI, since memory of the made-up GPUs is the host's.

CuPy's own `cupy.cuda.nccl` calls driver/nccl.c, which tells of each call here. What NCCL asks of
its callers is checked, where NCCL itself would compute rubbish, or wait for ever:

- memory is of the communicator's GPU, within its allocation; in place as NCCL has it, or apart;
- the stream is CuPy's current one, and of that GPU;
- groups are ended as often as begun; what a group asks for is done at its end, and not before;
- all ranks ask for the same: kind, count, type, operation and root, call by call; where one is
  refused, all are, and none waits;
- no two ranks of a communicator have one GPU, and none is used once it is destroyed.

Sums go round the ranks as in a ring, in the type that the call names. Every rank of MPI.COMM_WORLD
takes part whenever a communicator is made; several may be made at a time, each of some ranks.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from .libraries import libnccl

SYSTEM, INVALID_ARGUMENT, INVALID_USAGE = 2, 4, 5  # of ncclResult_t
_NAMES = "int8", "uint8", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"
TYPES = dict(enumerate(_NAMES))
ADD = 0


class Call(ctypes.Structure):
    """What C tells of a call, and has back: `found`."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("id", ctypes.c_void_p),
        ("from_", ctypes.c_void_p),
        ("to", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        *((name, ctypes.c_longlong) for name in ("comm", "type", "op", "root", "stream", "found")),
        ("device", ctypes.c_int),
        ("stream_device", ctypes.c_int),
    ]


class RefusedError(Exception):
    """The call is wrong."""

    def __init__(self, text: str, status: int = INVALID_ARGUMENT) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Collective:
    """One that was asked for; `tag` is what must be the same on all ranks."""

    kind: str
    at: int
    to: int
    count: int
    type: str
    op: int
    root: int

    @property
    def tag(self) -> tuple[Any, ...]:
        return self.kind, self.count, self.type, self.op, self.root


@dataclass
class Communicator:
    """What a handle stands for."""

    mpi: Any
    device: int
    asked: list[Collective] = field(default_factory=list)
    refused: str = ""
    batches: int = 0


@dataclass
class _State:
    """Of this process; `log` has what was called, in its order, and when groups were done."""

    handles: dict[int, Communicator] = field(default_factory=dict)
    made: int = 0
    depth: int = 0
    log: list[str] = field(default_factory=list)
    fails: dict[str, str] = field(default_factory=dict)


state = _State()
"""A test that wants a call to fail puts its name into `fails`, with the reason."""


@cache
def install() -> None:
    """Load it, before `cupy.cuda.nccl` is; which does so by itself under the made-up GPU."""
    libnccl().made_up_nccl(_TOLD)


def _told(pointer: Any) -> int:
    call = pointer.contents
    name = call.name.decode()
    state.log.append(name)
    try:
        if name in state.fails:
            raise RefusedError(state.fails[name], SYSTEM)
        call.found = _KINDS.get(name, _ask)(call) or 0
    except RefusedError as error:
        return _failed(error.status, f"{name}: {error}")
    except Exception as error:
        return _failed(SYSTEM, f"{name}: {type(error).__name__}: {error}")
    return 0


def _failed(status: int, text: str) -> int:
    libnccl().made_up_nccl_failed(text.encode())
    return status


_TOLD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Call))(_told)


# --- communicators --------------------------------------------------------------------------------
def _unique_id(call: Call) -> None:
    """C has made it."""


def _init(call: Call) -> int:
    from mpi4py import MPI

    name = ctypes.string_at(call.id, 128)
    comm = MPI.COMM_WORLD.Split(zlib.crc32(name) & 0x7FFFFFFF, call.root)
    if (comm.size, comm.rank) != (call.count, call.root):
        raise RefusedError(
            f"rank {call.root} of {call.count}, but {comm.size} have this name, this as {comm.rank}"
        )
    gpus = comm.allgather(_bus_id(call.device))
    if len(set(gpus)) < len(gpus):
        raise RefusedError(f"two ranks have one GPU: {gpus}", INVALID_USAGE)
    state.made += 1
    state.handles[state.made] = Communicator(comm, call.device)
    return state.made


def _bus_id(device: int) -> str:
    from cupy.cuda import runtime

    return str(runtime.deviceGetPCIBusId(device))


def _of(call: Call) -> Communicator:
    if call.comm not in state.handles:
        raise RefusedError(f"{call.comm} is no communicator, or was destroyed")
    return state.handles[call.comm]


def _destroy(call: Call) -> None:
    comm = _of(call)
    if state.depth:
        raise RefusedError("a group was begun and not ended", INVALID_USAGE)
    del state.handles[call.comm]
    comm.mpi.Free()


def _abort(call: Call) -> None:
    _of(call)
    del state.handles[call.comm]


def _size(call: Call) -> int:
    return int(_of(call).mpi.size)


def _rank(call: Call) -> int:
    return int(_of(call).mpi.rank)


def _device(call: Call) -> int:
    return _of(call).device


# --- groups ---------------------------------------------------------------------------------------
def _group_start(call: Call) -> None:
    state.depth += 1


def _group_end(call: Call) -> None:
    if not state.depth:
        raise RefusedError("no group was begun", INVALID_USAGE)
    state.depth -= 1
    if not state.depth:
        for comm in [*state.handles.values()]:
            _carry(comm)


# --- collectives ----------------------------------------------------------------------------------
def _ask(call: Call) -> None:
    """Check what can be checked here, and note it down; it is done at once outside of a group."""
    comm = _of(call)
    try:
        comm.asked.append(_checked(call, comm))
    except RefusedError as error:
        comm.refused = comm.refused or str(error)
        if state.depth:
            raise
    if not state.depth:
        _carry(comm)


def _checked(call: Call, comm: Communicator) -> Collective:
    import cupy

    kind = call.name.decode()
    if call.type not in TYPES:
        raise RefusedError(f"type {call.type}")
    one = Collective(
        kind, call.from_ or 0, call.to or 0, call.count, TYPES[call.type], call.op, call.root
    )
    if one.op != ADD:
        raise RefusedError(f"operation {one.op}; the made-up NCCL adds up only")
    if not 0 <= one.root < comm.mpi.size:
        raise RefusedError(f"root {one.root} of {comm.mpi.size} ranks")
    if call.device != comm.device or call.stream_device != comm.device:
        raise RefusedError(
            f"device {call.device}, a stream of {call.stream_device}; the communicator is of "
            f"{comm.device}"
        )
    if call.stream != (now := cupy.cuda.get_current_stream().ptr):
        raise RefusedError(f"stream {call.stream}; the current one is {now}")
    _check_memory(one, comm)
    return one


def _check_memory(one: Collective, comm: Communicator) -> None:
    width = np.dtype(one.type).itemsize
    sent, found = (each * width for each in _lengths(one, comm.mpi.size))
    at_root = one.kind != "reduce" or one.root == comm.mpi.rank  # NULL will do elsewhere
    for what, address, length in (("send", one.at, sent), ("receive", one.to, found)):
        if what == "receive" and not at_root:
            continue
        room = libnccl().made_up_room(ctypes.c_void_p(address), ctypes.c_int(comm.device))
        if length > room:
            raise RefusedError(
                f"{what} {length} bytes at {address:#x}, where device {comm.device} has {room}"
            )
        if address % width:
            raise RefusedError(f"{what} {one.type} at {address:#x}, which is not aligned")
    overlap = one.at < one.to + found and one.to < one.at + sent
    in_place = {
        "reduceScatter": one.to == one.at + comm.mpi.rank * found,
        "allGather": one.at == one.to + comm.mpi.rank * sent,
    }.get(one.kind, one.at == one.to)
    if overlap and at_root and not in_place:
        raise RefusedError(
            f"sends from {one.at:#x} and receives at {one.to:#x}, which overlap: neither in place "
            "nor apart"
        )


def _lengths(one: Collective, ranks: int) -> tuple[int, int]:
    """How many elements each rank sends, and receives."""
    many = one.count * ranks
    return {"reduceScatter": (many, one.count), "allGather": (one.count, many)}.get(
        one.kind, (one.count, one.count)
    )


def _carry(comm: Communicator) -> None:
    """Do all that was asked for, if all ranks have asked for the same; one whose call was refused
    says so to those that would wait for it."""
    asked, comm.asked = comm.asked, []
    refused, comm.refused = comm.refused, ""
    if not asked and not refused:
        return
    comm.batches += 1
    state.log.append("carried " + " ".join(one.kind for one in asked))
    told = comm.mpi.allgather((comm.batches, [one.tag for one in asked], refused))
    if wrong := [f"rank {rank}: {text}" for rank, (*_, text) in enumerate(told) if text]:
        raise RefusedError("; ".join(wrong))
    for rank, own in enumerate(told):
        if own != told[0]:
            raise RefusedError(
                f"rank 0 asks for {told[0][1]} as its batch {told[0][0]}, rank {rank} for {own[1]} "
                f"as its batch {own[0]}",
                INVALID_USAGE,
            )
    for one in asked:
        _do(one, comm.mpi)


def _do(one: Collective, mpi: Any) -> None:
    sent, length = _lengths(one, mpi.size)
    parts = np.empty((mpi.size, sent), one.type)
    mpi.Allgather(_array(one.at, sent, one.type).view(np.uint8), parts.view(np.uint8))
    if one.kind == "allGather":
        _array(one.to, length, one.type)[:] = parts.ravel()
    elif one.kind == "bcast":
        _array(one.to, length, one.type)[:] = parts[one.root]
    elif one.kind == "reduce":
        if one.root == mpi.rank:
            _array(one.to, length, one.type)[:] = _round(parts, one.root)
    else:
        own = slice(mpi.rank * length, (mpi.rank + 1) * length)
        _array(one.to, length, one.type)[:] = _round(parts[:, own], mpi.rank)


def _round(parts: Any, last: int) -> Any:
    """The sum, as it goes round the ring to its last rank."""
    ranks = len(parts)
    total = parts[(last + 1) % ranks].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(2, ranks + 1):
            total += parts[(last + k) % ranks]
    return total


def _array(address: int, count: int, dtype: str) -> Any:
    """Memory of a made-up GPU, which is the host's."""
    bytes_ = (ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(address)
    return np.frombuffer(bytes_, dtype)


_KINDS: dict[str, Callable[[Call], int | None]] = {
    "getUniqueId": _unique_id,
    "initRank": _init,
    "destroy": _destroy,
    "abort": _abort,
    "size": _size,
    "rank": _rank,
    "device": _device,
    "groupStart": _group_start,
    "groupEnd": _group_end,
}
