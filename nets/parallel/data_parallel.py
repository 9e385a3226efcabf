"""A network and its optimizer, trained by several ranks together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import numpy as np

from ...backend.checks.numbers import flag
from ..layers.batch_norm import BatchNorm
from ..losses.loss import Loss
from ..network.sequential import Sequential
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.storage.flat_storage import FlatStorage
from ..types import Array
from .agreement import Agreement
from .communicator import Comm
from .communicators import communicator_of
from .fair_threads import fair_threads
from .same_everywhere import check_alone, check_kinds, check_same, facts_of
from .shards import batch_parts
from .shared_storage import SharedStorage


class DataParallel:
    """Ranks that each take a part of every batch, and step one network together.

    All ranks run the same program. Each has a copy of the network, which starts as rank 0's, and
    its optimizer's step is the ranks' together: it adds their gradients up, takes their mean, and
    leaves the same parameters on all of them, to the bit.

        g = mean over ranks of g_r
        theta, states = step(theta, g, states)

    `fit(..., comm=)` does all of it. In a loop of your own:

        with DataParallel(net, optimizer, MPI.COMM_WORLD) as ranks:
            for rows in batches:                          # the same on all ranks
                ranks.backward(loss, x[rows], y[rows])    # each takes its part of them
                optimizer.step()

    Args:
        net: this rank's; its parameters, running statistics and random state become rank 0's (but
            what layers draw differs from rank to rank). On a GPU each rank has one of its own.
        optimizer: made from `net.parameters()`; its states become rank 0's.
        comm: mpi4py's, such as MPI.COMM_WORLD; for a GPU NCCL is started by it. Or a
            `Communicator`.
        sharded: each of N ranks keeps and steps 1/N of the optimizer's states (ZeRO stage 1): the
            same bits as without, from the same bytes sent, with less memory and work for each.
            Whatever asks for all of a state, such as `optimizer.state_dict()`, is then to be called
            by all ranks.

    Attributes:
        rank, size: the number of this rank, and how many there are.

    A step sends 2 (N-1)/N of the gradients' bytes from each rank: a reduce-scatter, and an
    all-gather of the gradients or, sharded, of the parameters. `clip_norm` sends a number a rank
    beside. Afterwards the network's gradients are sums over ranks; sharded, in this rank's part.

    Ranks of one machine share its cores fairly while they are together: the library's threads where
    neither a variable (see `kernels.get_num_threads`) nor `set_num_threads` says how many there
    are, BLAS's where OPENBLAS_NUM_THREADS, MKL_NUM_THREADS and OMP_NUM_THREADS say nothing.

    To the bit: on processors of one kind, for which the same machine code is made.

    It ends with the block, or with `close()`, called by all ranks: the optimizer then has all of
    its states again. Where an exception leaves the block on one rank, and not on all of them within
    a second, it is printed with the rank, and all are ended: the others would wait for ever.

    Raises:
        TypeError: `comm` is no communicator, or `sharded` no bool.
        ValueError: the optimizer updates other arrays, or ranks together already; a rank has
            another network, optimizer or version than rank 0: said on all of them, and named. Some
            batch norms of the network have sync=True, and some have not.
        ImportError: mpi4py, or CuPy's NCCL, is not installed.

    Conventions: gradients are averaged, as PyTorch's DistributedDataParallel does; statistics of a
        batch norm are each rank's own, unless BatchNorm(sync=True). PyTorch hands rank 0's running
        statistics round before each forward, `fit` at the end of each epoch.
    Source: Rajbhandari, Rasley, Ruwase and He 2020, ZeRO, section 5 (sharded states).
    """

    def __init__(
        self, net: Sequential, optimizer: Optimizer, comm: Comm, *, sharded: bool = False
    ) -> None:
        self._stack = ExitStack()
        self.communicator = communicator_of(comm, net)
        if self.communicator is not comm:
            self._stack.callback(self.communicator.close)
        self.net, self.optimizer = net, optimizer
        self.agreement = Agreement(self.communicator)
        try:
            with self.agreement.together("DataParallel"):
                self.sharded = flag("sharded", sharded)
                check_alone(net, optimizer)
                if self.size > 1:
                    check_kinds(net)
                facts = facts_of(net, optimizer)
            check_same(self.agreement, {**facts, "sharded": self.sharded})
        except BaseException:
            self._stack.close()
            raise
        try:
            self._start()
        except BaseException as error:
            self.agreement.end_all(error)
            self._merge(None)
            self._stack.close()
            raise

    @property
    def merging(self) -> list[BatchNorm]:
        """The layers that take sums over all ranks."""
        if self.size == 1:
            return []
        norms = (each for each in self.net.layers if isinstance(each, BatchNorm))
        return [each for each in norms if each.sync and not each.use_running_average]

    @property
    def rank(self) -> int:
        """The number of this rank, from 0 on."""
        return self.communicator.rank

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return self.communicator.size

    @property
    def open(self) -> bool:
        """Whether it was not closed yet."""
        return self.optimizer.storage is self._storage

    def share(self, rows: int) -> tuple[slice, float]:
        """Which of a batch's rows are this rank's, and the factor on the gradient of their mean.

        With factors N n_r / n the mean over ranks is that over the batch, however its n rows are
        parted: n_r for rank r, as equal as can be. Where each rank would have fewer than the
        network takes, as a BatchNorm takes two, the last ranks have none, and the factor 0.
        """
        bounds = batch_parts(rows, self.size, self.net.least_rows)
        own = slice(bounds[self.rank], bounds[self.rank + 1])
        return own, self.size * (own.stop - own.start) / rows if rows else 0.0

    def backward(self, loss: Loss, x: Array, y: Array, weights: Array | None = None) -> Array:
        """Forward, loss and backward on this rank's rows of a batch: the gradients of its share.

        Args:
            loss: such as SoftmaxCrossEntropy().
            x, y, weights: all rows of the batch, targets and a factor on the loss of each, as the
                network and the loss take them; the same on all ranks.

        Returns:
            this rank's share of the batch's mean loss, 0-d on the network's device: the sum of all
            shares is the mean.
        """
        own, weight = self.share(len(x))
        net, there = self.net, own.stop > own.start
        if not there and not self.merging:
            net.parameters().flat_grads[...] = 0
            return 0.0
        with net.backend.scope():
            output = net.forward(x[own], train=True)  # of no rows, too: others wait in a layer
            if not there:
                net.backward(output, input_grad=False)
                return 0.0
            mean, gradient = loss(output, y[own], *(() if weights is None else (weights[own],)))
            if weight != 1:
                gradient = gradient * gradient.dtype.type(weight)
            net.backward(gradient, input_grad=False)
            return mean * (weight / self.size)

    def settle(self) -> None:
        """Take over rank 0's running statistics, and how often its layers have drawn."""
        for value in self.net.buffers().values():
            self.communicator.take_from_first(value)
        draws = self.communicator.object_from_first(self.net.random_state())
        own = self.net.random_state()
        for place, state in own.items():
            seed = {"seed": state["seed"]} if "seed" in state else {}
            own[place] = {**draws[place], **seed}
        self.net.load_random_state(own)

    def close(self) -> None:
        """End it on all ranks: the optimizer has all states again, and steps alone."""
        if not self.open:
            return
        try:
            self.optimizer.store(FlatStorage(self.net.parameters()))
            self.settle()
            self.net.load_random_state(self.communicator.object_from_first(self.net.random_state()))
        except BaseException as error:
            self.agreement.end_all(error)
            raise
        finally:
            self._merge(None)
            self._stack.close()

    def _start(self) -> None:
        net, optimizer, communicator = self.net, self.optimizer, self.communicator
        self._stack.enter_context(fair_threads(communicator))
        communicator.take_from_first(net.parameters().flat)
        for whole in optimizer.columns()[2:]:
            communicator.take_from_first(whole[0])
        self.net.load_random_state(communicator.object_from_first(net.random_state()))
        self.settle()
        states = net.random_state()
        for place, state in states.items():
            if "seed" in state:
                states[place] = {**state, "seed": _seed_of(state["seed"], self.rank)}
        net.load_random_state(states)
        self._storage = SharedStorage(net.parameters(), self.agreement, self.sharded)
        optimizer.store(self._storage)
        self._merge(communicator.gathered if self.size > 1 else None)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """A block in which batch norms take this rank's rows alone."""
        self._merge(None)
        try:
            yield
        finally:
            self._merge(self.communicator.gathered if self.size > 1 else None)

    def _merge(self, merge: Callable[[Array], Array] | None) -> None:
        for layer in self.net.layers:
            if isinstance(layer, BatchNorm) and layer.sync:
                layer.merge = merge

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        known = error is None or self.agreement.knows(error)
        if error is not None and not known and not self.communicator.all_come():
            self.agreement.end_all(error)
        self.close()

    def __repr__(self) -> str:
        sharded = ", sharded" * self.sharded
        return f"DataParallel(rank {self.rank} of {self.size}{sharded})"


def _seed_of(seed: int, rank: int) -> int:
    """That of a rank: rank 0 keeps the network's own."""
    if rank == 0:
        return seed
    words = np.random.SeedSequence([seed, rank]).generate_state(1, np.uint64)
    return int(words[0])
