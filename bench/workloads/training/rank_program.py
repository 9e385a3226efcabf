"""What each rank of section "ranks" runs: requests from standard input, answers by rank 0.

Ranks that wait for a request sleep, since MPI's own waiting would take the cores of what is timed
meanwhile. Every function here but `serve` is called by all ranks together.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import pairwise
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ....kernels import get_num_threads, set_num_threads
from ....nets import Adam, DataParallel, Dataset, Dense, Sequential, SoftmaxCrossEntropy, fit
from ....nets.parallel.communicator import Communicator
from ....nets.parallel.mpi_communicator import MpiCommunicator, mpi
from ....nets.parallel.shards import shards
from ...cases.data_sets import made_up
from ...cases.ranks import BATCH, WIDTHS
from ...cases.steps import CASES
from ...cases.trainer import LR

_REST = 5e-3  # seconds between two looks for a request
_PIECE = 192  # rows and columns of a product that is part of a computation


def serve() -> None:
    """Answer requests until standard input ends."""
    comm = mpi().COMM_WORLD
    all_of_them = MpiCommunicator(comm)
    try:
        _say(comm, comm.size)
        while request := _request(comm):
            does: Callable[..., Any] = REQUESTS[request.pop("what")]
            _say(comm, does(comm, **request))
    except BaseException:
        traceback.print_exc()
        all_of_them.abort()


def _request(comm: Any) -> dict[str, Any]:
    """The next one, the same on all ranks; empty at the end."""
    if comm.rank == 0:
        line = sys.stdin.readline()
        request: dict[str, Any] = json.loads(line) if line.strip() else {}
        for other in range(1, comm.size):
            comm.send(request, other)
        return request
    while not comm.iprobe(0):
        sleep(_REST)
    found: dict[str, Any] = comm.recv(source=0)
    return found


def _say(comm: Any, answer: Any) -> None:
    if comm.rank == 0:
        print(json.dumps(answer), flush=True)


def step(
    comm: Any, alone: bool, sharded: bool, one_thread: bool, samples: int, epochs: int
) -> float:
    """Seconds of a training step, by an epoch: the median after the first, which prepares."""
    net, optimizer = _network()
    with _one_thread() if one_thread else ExitStack():
        history = _fit(net, optimizer, _data(samples), epochs + 1, None if alone else comm, sharded)
    return median(history.seconds[1:]) / (samples // BATCH)


def train(comm: Any, alone: bool, sharded: bool, samples: int, file: str) -> None:
    """Train for an epoch, and write rank 0's parameters to `file`, an NPY file."""
    net, optimizer = _network()
    _fit(net, optimizer, _data(samples), 1, None if alone else comm, sharded)
    if comm.rank == 0:
        np.save(file, net.parameters().flat)


def count(comm: Any, sharded: bool, clipped: bool, batches: int) -> dict[str, int]:
    """What a step sends and how often ranks meet in it, and what each holds: the most of any rank.

    Steps are counted by two trainings, one of twice as many: so what a training does once is left
    out.
    """
    net, optimizer = _network(clip_norm=1e9 if clipped else None)
    with DataParallel(net, optimizer, comm, sharded=sharded) as ranks:
        met = _counted_meetings(ranks.communicator)
        found = []
        for samples in (batches * BATCH, 2 * batches * BATCH):
            before = ranks.communicator.sent, len(met)
            _fit(net, optimizer, _data(samples), 1, ranks, sharded)
            found.append((ranks.communicator.sent - before[0], len(met) - before[1]))
        (few, seldom), (many, often) = found
        params, scratch = net.parameters(), getattr(ranks.communicator, "_room", np.empty(0))
        own = {
            "sent": (many - few) // batches,
            "meetings": (often - seldom) // batches,
            "parameters": params.flat.nbytes,
            "gradients": params.flat_grads.nbytes,
            "states": sum(state[0].nbytes for state in optimizer._state.values()),
            "scratch": scratch.nbytes,
        }
    return {name: comm.allreduce(value, op=mpi().MAX) for name, value in own.items()}


def exchange(comm: Any, elements: int, calls: int) -> float:
    """Seconds of a reduce-scatter and an all-gather of so many float32."""
    with _carried(comm) as communicator:
        array, bounds = np.empty(elements, np.float32), shards(elements, comm.size)
        array.fill(0)  # of pages of its own; sums of sums of others would grow

        def call() -> None:
            communicator.sum_parts(array, bounds)
            communicator.gather_parts(array, bounds)

        return _each(comm, call, calls)


def meeting(comm: Any, calls: int) -> float:
    """Seconds of a sum of seven numbers."""
    with _carried(comm) as communicator:
        numbers = np.ones(7)
        return _each(comm, lambda: communicator.sum_numbers(numbers), calls)


def update(comm: Any, elements: int, calls: int) -> float:
    """Seconds of Adam's step on so many parameters, on a single thread."""
    call = _adam(elements)
    with _one_thread():
        return _each(comm, call, calls)


def overlap(comm: Any, way: str, elements: int) -> float:
    """Seconds of a reduce-scatter and of products that take about as long, of the slowest rank.

    `way` is one of the paths that report/scaling.py lists.
    """
    with threadpool_limits(1, user_api="blas"):  # a rank's share where there are as many as cores
        pieces = _pieces(comm, elements)
        comm.Barrier()
        begin = perf_counter()
        _overlapped(comm, way, elements, pieces)
        seconds: float = comm.allreduce(perf_counter() - begin, op=mpi().MAX)
    return seconds


def _overlapped(comm: Any, way: str, elements: int, pieces: int) -> None:
    if way == "compute":
        _products(pieces)
        return
    request = comm.Ireduce_scatter_block(*_buffers(elements, comm.size))
    if way == "one after another":
        request.Wait()
    if way == "polled":
        for _ in range(pieces):
            _products(1)
            request.Test()
    elif way != "exchange":
        _products(pieces)
    request.Wait()


REQUESTS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (step, train, count, exchange, meeting, update, overlap)
}


def _network(clip_norm: float | None = None) -> tuple[Sequential, Adam]:
    """Without batch norm, whose statistics would be other ones on each rank."""
    *hidden, last = pairwise(WIDTHS)
    layers = [Dense(*pair, activation="relu") for pair in hidden]
    net = Sequential(*layers, Dense(*last), seed=0, device="cpu")
    return net, Adam(net.parameters(), lr=LR, clip_norm=clip_norm)


def _fit(
    net: Sequential, optimizer: Adam, data: Dataset, epochs: int, comm: Any, sharded: bool
) -> Any:
    return fit(
        net,
        (data.x_train, data.y_train),
        loss=SoftmaxCrossEntropy(),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=BATCH,
        seed=0,
        progress=False,
        comm=comm,
        sharded=sharded,
    )


@cache
def _data(samples: int) -> Dataset:
    return made_up(samples, held_out=0)


@contextmanager
def _carried(comm: Any) -> Iterator[Communicator]:
    communicator = MpiCommunicator(comm)
    try:
        yield communicator
    finally:
        communicator.close()


@contextmanager
def _one_thread() -> Iterator[None]:
    """For ranks that are no more than one: others would no longer share the cores afterwards."""
    before = get_num_threads()
    set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        set_num_threads(before)


def _each(comm: Any, call: Callable[[], Any], calls: int) -> float:
    """The median of some calls that all ranks begin together, after one that is not counted."""
    call()
    seconds = []
    for _ in range(calls):
        comm.Barrier()
        begin = perf_counter()
        call()
        seconds.append(perf_counter() - begin)
    return median(seconds)


@cache
def _adam(elements: int) -> Callable[[], None]:
    from ....backend import get_backend

    case = CASES["adam"]
    return case.call(case.arrays(elements, "float32", get_backend("cpu")), "auto")


def _counted_meetings(communicator: Communicator) -> list[None]:
    """A list that grows with each meeting of `communicator`."""
    met: list[None] = []
    inner = communicator.sum_numbers

    def counted(numbers: Any) -> Any:
        met.append(None)
        return inner(numbers)

    communicator.sum_numbers = counted  # type: ignore[method-assign]
    return met


@cache
def _buffers(elements: int, ranks: int) -> tuple[Any, Any]:
    part = elements // ranks
    return np.ones(part * ranks, np.float32), np.empty(part, np.float32)


@cache
def _factors() -> tuple[Any, Any, Any]:
    left, right = np.random.default_rng(0).random((2, _PIECE, _PIECE), np.float32)
    return left, right, np.empty_like(left)


def _products(pieces: int) -> None:
    left, right, out = _factors()
    for _ in range(pieces):
        np.matmul(left, right, out=out)


_known: dict[int, int] = {}


def _pieces(comm: Any, elements: int) -> int:
    """How many products take as long as the exchange, found out once; the same on all ranks."""
    if elements not in _known:
        given, own = _buffers(elements, comm.size)
        long = _each(comm, lambda: comm.Ireduce_scatter_block(given, own).Wait(), 5)
        short = _each(comm, lambda: _products(10), 5) / 10
        _known[elements] = comm.bcast(max(1, round(long / short)), root=0)
    return _known[elements]
