"""What captured steps on every kind of device have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from ...losses.loss import Loss
from ...network.captured_forward import (
    Uncapturable,
    check_loss,
    check_methods,
    newer_than,
    same_settings,
    settings,
)
from ...network.sequential import Sequential
from ...optimizers.frame.optimizer import Optimizer
from ...types import Array
from ..regularizers import Regularizer
from ..update import NotFiniteError, step

Batch: TypeAlias = tuple[Array, Array, Array | None]
"""x, y and weights, or None where rows are not weighted."""

MOST = 256  # steps of a run
PENALTY = "penalty", "add_gradient", "_pairs", "_factor", "_size", "_derivative"
"""The methods of a regularizer that its `record` writes down."""


class Captured(ABC):
    """One training step of a network, a loss and an optimizer, for batches of one size.

    Args:
        optimizer: None: the step ends with the gradients.
        data: (x, y, weights or None) of all samples, from which batches are taken by number.
        gathered: whether they are; else `give` writes each, alike but for the number of rows.
        samples: m of the regularizers' formulas.

    Attributes:
        loss, metric: of each step of the last run: the mean loss before its update, and the metric
            added up over its rows.
        taken: how many steps of it were taken.
        unfinished: whether it left one that `finish` is to take.
    """

    taken, unfinished = 0, False
    loss: np.ndarray
    metric: np.ndarray

    def __init__(
        self,
        net: Sequential,
        loss: Loss,
        optimizer: Optimizer | None,
        batch_size: int,
        data: Batch,
        regularizers: Sequence[Regularizer],
        samples: float,
        gathered: bool = True,
    ) -> None:
        check(net, loss, optimizer, regularizers)
        self._net, self._loss, self._optimizer = net, loss, optimizer
        self._regularizers = regularizers
        self.batch_size, self._samples = batch_size, samples
        if optimizer is not None:
            self._rule, coefficients = optimizer.prepared()
            self._runs = optimizer.runs()
            self._clip_norm = optimizer.clip_norm
            self._table = np.zeros((MOST, len(coefficients)))
        self._write_down(data, gathered)
        self._state = self._settings()

    @abstractmethod
    def _write_down(self, data: Batch, gathered: bool) -> None:
        """Capture the step."""

    @abstractmethod
    def give(self, *batch: Array | None) -> None:
        """Write x, y and weights of the next batch, where they are not `gathered`."""

    @abstractmethod
    def _run(self, order: Array | None, steps: int) -> int:
        """`run`; how many steps were taken."""

    @property
    @abstractmethod
    def _not_finite(self) -> bool:
        """Whether the last run ended because a loss was not."""

    @abstractmethod
    def _ended(self) -> None:
        """A step more was taken than the run took."""

    def _settings(self) -> list[Any]:
        """What was written down and must not change."""
        own = settings(self._net, self._loss, *self._regularizers)
        if (optimizer := self._optimizer) is None:
            return [*own, self._net.parameters().flat, self._net.parameters().flat_grads]
        arrays = (array for column in optimizer.columns() for array in column)
        rule = optimizer.prepared()[0]
        own += [optimizer.storage, *arrays, rule, *optimizer.options.values(), optimizer.engine]
        return own

    def holds(self) -> bool:
        """Whether network and optimizer are as they were when the step was captured."""
        return same_settings(self._settings(), self._state)

    def prepare(self, number: int) -> bool:
        """Let that step of the next run be taken with the optimizer's present settings.

        False where they are not those of the capture: it is to be captured anew first.
        """
        assert self._optimizer is not None
        rule, self._table[number] = self._optimizer.prepared(number)
        return rule is self._rule and self._optimizer.clip_norm == self._clip_norm

    def run(self, order: Array | None, steps: int) -> None:
        """Take a step for each batch of `order`, the numbers of samples; of one batch that was
        given, where `order` is None.

        `taken` says how many were taken. Where squares of gradients leave float64's range, the run
        ends before their step, and `unfinished` says so: `finish` takes it.

        Raises:
            NotFiniteError: after the steps that were `taken`, the loss of the next is not finite.
        """
        self.taken = self._run(order, steps)
        if self._optimizer is not None:
            self._optimizer.stepped(self.taken)
        self.unfinished = self.taken < steps
        if self.unfinished and self._not_finite:
            raise NotFiniteError("loss", float(self.loss[self.taken]))

    def finish(self) -> None:
        """Take the step that a run left, with the optimizer's present settings.

        Raises:
            NotFiniteError: its gradients are not finite.
        """
        assert self._optimizer is not None
        step(self._net, self._optimizer)
        self._ended()
        self.taken += 1


def check(
    net: Sequential,
    loss: Loss,
    optimizer: Optimizer | None,
    regularizers: Sequence[Regularizer] = (),
) -> None:
    """Raise Uncapturable with the reason where a step of these can't be captured on any device."""
    check_methods(net)
    check_loss(loss)
    if optimizer is not None:
        _check_optimizer(net, optimizer)
    for regularizer in regularizers:
        if newer := newer_than("record", regularizer, Regularizer, PENALTY):
            raise Uncapturable(f"{regularizer!r} has a {newer} of its own, and no record")


def _check_optimizer(net: Sequential, optimizer: Optimizer) -> None:
    if optimizer.storage.share not in (None, 1.0):
        raise Uncapturable("several ranks step the optimizer together")
    if newer := newer_than("columns", optimizer, Optimizer, ("step",)):
        raise Uncapturable(f"the optimizer {optimizer!r} has a {newer} of its own")
    if len(optimizer.frozen) == len(net.parameters()):
        raise Uncapturable("all of the optimizer's parameters are frozen")
    if optimizer.clip_each_norm is not None:
        raise Uncapturable("clip_each_norm takes a factor for each array")
    if optimizer.formats and optimizer.clip_norm is not None:
        raise Uncapturable("clip_norm stands beside states in 16 or 8 bits")
    if optimizer.frozen and optimizer.clip_norm is not None:
        raise Uncapturable("clip_norm leaves out the optimizer's frozen parameters")


def check_engine(optimizer: Optimizer, engine: str) -> None:
    """Likewise where the optimizer does not leave the choice of its engine, nor takes this one."""
    if optimizer.engine not in ("auto", engine):
        raise Uncapturable(f"the optimizer's engine is {optimizer.engine!r}")
