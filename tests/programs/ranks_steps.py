"""What ranks do in loops of their own, and what carries it: cases of `ranks_together.py`."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
from cases.ranks import Case, data, made, normed, plain, trained
from mpi4py import MPI
from onepass.nets import Adam, DataParallel, SoftmaxCrossEntropy, capture
from onepass.nets.parallel.mpi_communicator import MpiCommunicator
from onepass.nets.parallel.shards import shards

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.rank, COMM.size
ADAM = Case(optimizer=Adam, hyper={"lr": 0.02}, dtype="float64")


def _off(net, expected):
    """How far parameters are from those expected, in eps of the largest."""
    found, right = net.parameters().flat, expected.parameters().flat
    return float(np.abs(found - right).max() / np.abs(right).max() / np.finfo(right.dtype).eps)


def _alike(*arrays):
    """Whether all of these have the same bits on all ranks."""
    return len({each.tobytes() for each in arrays for each in COMM.allgather(each)}) == 1


def captured_before():
    """A step captured for 3 rows, and taken by each rank alone; then twice by all, with 3 of 9 rows
    each. What it says, and where it ends beside one rank, and beside `fit` by all."""
    x, y = data(9)
    few, own = slice(3), slice(3 * RANK, 3 * RANK + 3)
    loss, found = SoftmaxCrossEntropy(), []
    net, optimizer = made(ADAM)
    alone = capture(net, loss, optimizer, batch_size=9)
    for rows in (few, slice(9), slice(9)):
        alone(x[rows], y[rows])
    fitted, optimizer = made(ADAM)
    capture(fitted, loss, optimizer, batch_size=3)(x[few], y[few])
    nine = Case(pair=lambda: (x, y), options={"shuffle": False, "batch_size": 9})
    trained(nine, fitted, optimizer, comm=COMM)
    for sharded in (False, True):
        net_of_ranks, optimizer = made(ADAM)
        step = capture(net_of_ranks, loss, optimizer, batch_size=3)
        step(x[few], y[few])
        said = [step.why_not]
        with DataParallel(net_of_ranks, optimizer, COMM, sharded=sharded):
            step(x[own], y[own])
            said.append(step.why_not)
            step(x[own], y[own])
        same = _alike(net_of_ranks.parameters().flat)
        found.append([*said, same, _off(net_of_ranks, net), _off(net_of_ranks, fitted)])
    return found


def columns_send_nothing():
    """Bytes that ranks send for the arrays of a step, which another may take."""
    found = []
    for sharded in (False, True):
        net, optimizer = made(ADAM)
        with DataParallel(net, optimizer, COMM, sharded=sharded) as ranks:
            before = ranks.communicator.sent
            sizes = [array.size for column in optimizer.columns() for array in column]
            optimizer.columns()
            found.append([ranks.communicator.sent - before, len(set(sizes))])
    return found


BACKWARDS = {
    "plain": (plain, 7, False),  # 22 rows: a last batch of 1
    "weights": (plain, 7, True),
    "sync": (normed(sync=True), 5, False),
    "sync, weights": (normed(sync=True), 5, True),
    "own statistics": (normed(), 5, False),  # a last batch of 2, which one rank needs for itself
    "own statistics, weights": (normed(), 5, True),
}


def backwards():
    """What `DataParallel.backward` leaves, and the sum of its shares of the loss, beside one rank;
    of batch norms with statistics of their own, beside the loop by hand."""
    found = {}
    for name, (layers, rows, weighted) in BACKWARDS.items():
        case = Case(layers, Adam, ADAM.hyper, dtype="float64")
        expected = (_by_hand if name.startswith("own") else _alone)(case, rows, weighted)
        for sharded in (False, True):
            net, means = _by_ranks(case, rows, weighted, sharded)
            off = np.max(np.abs(np.divide(means, expected[1]) - 1)) / np.finfo(float).eps
            same = _alike(net.parameters().flat)
            found[f"{name}, {sharded}"] = [same, _off(net, expected[0]), float(off)]
    return found


def _batches(rows, weighted):
    (x, y), weights = data(), np.arange(1, 23) / 11.0
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        yield (x[part], y[part], weights[part]) if weighted else (x[part], y[part])


def _by_ranks(case, rows, weighted, sharded):
    loss, shares = SoftmaxCrossEntropy(), []
    net, optimizer = made(case)
    with DataParallel(net, optimizer, COMM, sharded=sharded) as ranks:
        for batch in _batches(rows, weighted):
            shares.append(float(ranks.backward(loss, *batch)))
            optimizer.step()
    return net, np.sum(COMM.allgather(shares), axis=0)


def _alone(case, rows, weighted):
    loss, means = SoftmaxCrossEntropy(), []
    net, optimizer = made(case)
    for x, *targets in _batches(rows, weighted):
        mean, gradient = loss(net.forward(x, train=True), *targets)
        net.backward(gradient)
        optimizer.step()
        means.append(float(mean))
    return net, means


def _by_hand(case, rows, weighted):
    """Each rank's rows go through its own copy, 2 at least; with gradients added up by MPI."""
    loss, means = SoftmaxCrossEntropy(), []
    net, optimizer = made(case)
    flat = net.parameters().flat_grads
    for batch in _batches(rows, weighted):
        n, mean = len(batch[0]), 0.0
        working = min(SIZE, n // 2)
        flat[...] = 0
        if working > RANK:
            part = slice(n * RANK // working, n * (RANK + 1) // working)
            x, *targets = (each[part] for each in batch)
            mean, gradient = loss(net.forward(x, train=True), *targets)
            net.backward(gradient * (len(x) / n))
            mean *= len(x) / n
        COMM.Allreduce(MPI.IN_PLACE, flat)
        optimizer.step()
        means.append(COMM.allreduce(float(mean)))
    return net, means


def loop_of_the_docstring():
    """As it is written there: beside one rank's, with a last batch smaller than there are ranks."""
    lines = DataParallel.__doc__.split("In a loop of your own:\n\n")[1].split("\n\n    Args:")[0]
    x, y = data()
    scope = {
        "DataParallel": DataParallel,
        "MPI": MPI,
        "loss": SoftmaxCrossEntropy(),
        "x": x,
        "y": y,
    }
    scope["batches"] = [np.arange(start, min(start + 7, 22)) for start in range(0, 22, 7)]
    scope["net"], scope["optimizer"] = net, _ = made(ADAM)
    exec(dedent(lines), scope)
    expected, alone = made(ADAM)
    for rows in scope["batches"]:
        _, gradient = scope["loss"](expected.forward(x[rows], train=True), y[rows])
        expected.backward(gradient)
        alone.step()
    return [lines.count("\n") + 1, _alike(net.parameters().flat), _off(net, expected)]


def collectives():
    """What MPI does to arrays of every length, one by one, is what NumPy does: what is wrong."""
    communicator, wrong = MpiCommunicator(COMM), []

    def check(what, found, expected):
        if found.dtype != expected.dtype or not np.array_equal(found, expected):
            wrong.append(f"{what}: {found!r}, not {expected!r}")

    for dtype in ("float16", "float32", "float64"):
        for size in range(41):
            bounds = shards(size, SIZE)
            own = slice(bounds[RANK], bounds[RANK + 1])
            all_of = np.random.default_rng(size).integers(-600, 600, (SIZE, size)).astype(dtype)
            what = f"of {size} {dtype}"
            summed = all_of[RANK].copy()
            communicator.sum_parts(summed, bounds)
            check(
                f"sum_parts {what}",
                summed[own],
                all_of.sum(axis=0, dtype="float64")[own].astype(dtype),
            )
            parted = all_of[RANK].copy()
            communicator.gather_parts(parted, bounds)
            parts = [each[bounds[k] : bounds[k + 1]] for k, each in enumerate(all_of)]
            check(f"gather_parts {what}", parted, np.concatenate(parts))
            for shape in ((size,), (size, 1), (1, size)):
                there = all_of.reshape(SIZE, *shape)
                check(f"gathered {what}", communicator.gathered(there[RANK]), there)
            first = all_of[RANK].copy()
            communicator.take_from_first(first)
            check(f"take_from_first {what}", first, all_of[0])
            gaps = np.zeros(2 * size, dtype)
            gaps[::2] = all_of[RANK]
            communicator.take_from_first(gaps[::2])
            check(
                f"take_from_first with gaps {what}",
                gaps,
                np.stack([all_of[0], 0 * all_of[0]], 1).reshape(-1),
            )
        scalars = np.arange(1, SIZE + 1).astype(dtype)
        check(f"gathered 0-d {dtype}", communicator.gathered(scalars[RANK, ...]), scalars)
        scalar = scalars[RANK, ...].copy()
        communicator.take_from_first(scalar)
        check(f"take_from_first 0-d {dtype}", scalar, scalars[0, ...])
    communicator.close()
    return wrong
