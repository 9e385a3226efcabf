"""Ranks that are ended together: mpiexec -n N python ranks_ended.py CASE [FOLDER]

Rank 1 does in its second epoch what CASE says; the others train on, and would for ever. Whoever
comes to the end of `fit` says so.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from cases.ranks import Case, data, made, normed, plain, trained
from mpi4py import MPI
from onepass import kernels
from onepass.nets import Adam, Callback, Checkpoint, DataParallel, Layer, SoftmaxCrossEntropy
from onepass.nets.parallel import mpi_communicator
from onepass.nets.parallel.shared_storage import SharedStorage

COMM = MPI.COMM_WORLD
RANK = COMM.rank
CASE = sys.argv[1]
FOLDER = Path(sys.argv[2]) if sys.argv[2:] else None


class Acts(Callback):
    """Does it on rank 1; rank 0 tells that its first epoch is over."""

    def __init__(self, act):
        self.act = act

    def on_epoch(self, run):
        if RANK == 0 and run.epoch == 1:
            print("ready", flush=True)
        if RANK == 1 and run.epoch == 2:
            self.act(run)


class Falls(Layer):
    """Raises in forward on rank 1, once it was told to."""

    falls = False

    def forward(self, x, train=False):
        if Falls.falls:
            raise KeyError("boom")
        return x

    def backward(self, dy, input_grad=True):
        return dy


def train(act=lambda run: None, layers=plain, epochs=1_000_000, **options):
    net, optimizer = made(Case(layers, Adam))
    callbacks = [Acts(act)]
    if FOLDER is not None:
        callbacks.append(Checkpoint(FOLDER / "file"))
    case = Case(layers, Adam, {"lr": 0.02})
    history = trained(
        case, net, optimizer, comm=COMM, epochs=epochs, callbacks=callbacks, **options
    )
    print(f"rank {RANK} stopped={history.stopped!r}\n", end="", flush=True)


def exits():
    train(lambda run: os._exit(3))


def killed():
    train(lambda run: os.kill(os.getpid(), signal.SIGKILL))


def interrupted():
    train(lambda run: os.kill(os.getpid(), signal.SIGINT))


def interrupted_twice():
    def act(run):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    train(act)


def waits():
    """For whoever ends mpiexec."""
    train()


def memory():
    """In the step, where no other rank can be told."""

    def act(run):
        def falls(*_):
            raise MemoryError("no room")

        type(run.optimizer)._prepared = falls

    train(act)


def falls_in(name):
    """A method of the storage that ranks share, on one of them."""
    own = getattr(SharedStorage, name)

    def method(storage, *given):
        if RANK == 1:
            raise MemoryError("no room")
        return own(storage, *given)

    setattr(SharedStorage, name, method)


def start():
    """While states are parted among the ranks, after what they are told of one another."""
    falls_in("part")
    train(epochs=1, sharded=True)


def close():
    """While states are put together again; the others wait for this rank's part."""
    net, optimizer = made(Case(optimizer=Adam))
    with DataParallel(net, optimizer, COMM, sharded=True) as ranks:
        trained(Case(optimizer=Adam), net, optimizer, comm=ranks, epochs=1)
        falls_in("whole")


def layer_beside_sync():
    def act(run):
        Falls.falls = True

    train(act, layers=lambda: [Falls(), *normed(sync=True)()], batch_size=11)


def layer_after_sync():
    def act(run):
        Falls.falls = True

    train(act, layers=lambda: [*normed(sync=True)(), Falls()], batch_size=11)


def boom(*_):
    raise KeyError("boom")


def uncaught():
    """All know, and each ends by itself."""
    train(boom)


def uncaught_in_block(sharded=True):
    """Likewise: the block ends together, too."""
    case = Case(optimizer=Adam)
    net, optimizer = made(case)
    with DataParallel(net, optimizer, COMM, sharded=sharded) as ranks:
        trained(case, net, optimizer, comm=ranks, callbacks=Acts(boom), epochs=9)


def sys_exit():
    train(lambda run: sys.exit(5))


def own_loop(act=lambda: None, sharded=False):
    mpi_communicator.PATIENCE = 0.1  # for the others, who wait in vain on a core each
    net, optimizer = made(Case(optimizer=Adam))
    x, y = data()
    x, loss = x.astype("float32"), SoftmaxCrossEntropy()
    with DataParallel(net, optimizer, COMM, sharded=sharded) as ranks:
        for step in range(1_000_000):
            own, weight = ranks.share(len(x))
            _, gradient = loss(net.forward(x[own], train=True), y[own])
            if RANK == 1 and step == 3:
                act()
            net.backward(np.float32(weight) * gradient)
            optimizer.step()


def own_loop_raises():
    own_loop(boom)


def own_loop_interrupted():
    own_loop(lambda: os.kill(os.getpid(), signal.SIGINT))


def own_loop_raises_sharded():
    def act():
        time.sleep(0.1)
        raise KeyError("boom")

    own_loop(act, sharded=True)


def threads():
    """Told by `train`: outside, where all are one's own; inside by a callback."""
    inside = []
    net, optimizer = made(Case(optimizer=Adam))

    class Looks(Callback):
        def on_epoch(self, run):
            inside.append(kernels.get_num_threads())

    before = kernels.get_num_threads()
    trained(Case(optimizer=Adam), net, optimizer, comm=COMM, epochs=1, callbacks=Looks())
    print(f"threads {before} {inside[0]} {kernels.get_num_threads()}\n", end="", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    globals()[CASE]()
