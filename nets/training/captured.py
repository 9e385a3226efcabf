"""A training step captured: written down once for a batch size, then run by compiled code alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ...kernels.program import new_recorder
from ..losses.loss import Loss
from ..network.captured_forward import (
    KEPT,
    Uncapturable,
    check_layers,
    check_loss,
    newer_than,
    same_settings,
    settings,
)
from ..network.sequential import Sequential
from ..optimizers.optimizer import Optimizer
from ..types import Array
from .regularizers import Regularizer
from .run import Run
from .update import NotFiniteError, step

Batch: TypeAlias = tuple[Array, Array, Array | None]
"""x, y and weights, or None where rows are not weighted."""

MOST = 256  # steps of a run
PENALTY = "penalty", "add_gradient", "_pairs", "_factor", "_size", "_derivative"
"""The methods of a regularizer that its `record` writes down."""
ROUND = 0.01  # seconds that a run should take: Ctrl-C waits for it


class Captured:
    """One training step of a network, a loss and an optimizer, for batches of one size.

    Args:
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

    def __init__(
        self,
        net: Sequential,
        loss: Loss,
        optimizer: Optimizer,
        batch_size: int,
        data: Batch,
        regularizers: Sequence[Regularizer],
        samples: int,
        gathered: bool = True,
    ) -> None:
        check(net, loss, optimizer)
        self._net, self._loss, self._optimizer = net, loss, optimizer
        self._regularizers = regularizers
        self.batch_size, self._samples = batch_size, samples
        recorder = self._recorder = new_recorder(net.dtype, MOST)
        self.loss, self.metric = recorder.loss, recorder.metric
        self._orders: list[int] = []
        x, y, weights = data
        x, y = self._room(x, gathered), self._room(y, gathered)
        weights = None if weights is None else self._room(weights, gathered)
        self._rooms: Batch = x, y, weights
        self._write_down(self._rooms)
        self._state = self._settings()

    def _write_down(self, batch: Batch) -> None:
        net, recorder, optimizer = self._net, self._recorder, self._optimizer
        x, y, weights = batch
        learning = (k for k, layer in enumerate(net.layers) if layer.shapes())
        first, backwards = next(learning, len(net.layers)), []
        try:
            for layer in net.layers:
                x, backward = layer.record(recorder, x, True)
                backwards.append(backward)
            dy = self._loss.record(recorder, x, y, weights)
            for k in range(len(backwards) - 1, first - 1, -1):
                dy = backwards[k](dy, k > first)
            for regularizer in self._regularizers:
                if newer := newer_than("record", regularizer, Regularizer, PENALTY):
                    raise Uncapturable(f"{regularizer!r} has a {newer} of its own, and no record")
                regularizer.record(recorder, net, self._samples)
        except NotImplementedError as error:
            raise Uncapturable(str(error)) from error
        self._rule, coefficients = optimizer.prepared()
        self._clip_norm = optimizer.clip_norm
        self._table = np.zeros((MOST, len(coefficients)))
        arrays = tuple(column[0] for column in optimizer.columns())
        recorder.step(self._rule, arrays, self._table, self._clip_norm)

    def _room(self, array: Array, gathered: bool) -> Array:
        """Room for a batch of `array`; `gathered`: and what fills it."""
        room = self._recorder.program.empty((self.batch_size, *array.shape[1:]), array.dtype)
        if gathered:
            self._orders.append(self._recorder.take(array, room))
        return room

    def _settings(self) -> list[Any]:
        """What was written down and must not change."""
        optimizer = self._optimizer
        arrays = (column[0] for column in optimizer.columns())
        rule = optimizer.prepared()[0]
        own = optimizer.clip_norm, optimizer.engine
        return [*settings(self._net, self._loss, *self._regularizers), *arrays, rule, *own]

    def holds(self) -> bool:
        """Whether network and optimizer are as they were when the step was captured."""
        return same_settings(self._settings(), self._state)

    def give(self, *batch: Array | None) -> None:
        """Write x, y and weights of the next batch, where they are not `gathered`."""
        for room, array in zip(self._rooms, batch, strict=True):
            if room is not None:
                room[...] = array

    def prepare(self, number: int) -> bool:
        """Let that step of the next run be taken with the optimizer's present settings.

        False where they are not those of the capture: it is to be captured anew first.
        """
        rule, self._table[number] = self._optimizer.prepared(number)
        return rule is self._rule and self._optimizer.clip_norm == self._clip_norm

    def timed(self, order: Array) -> list[tuple[str, int]]:
        """Take one step, `prepare`d, for the batch of `order`: see `Program.timed`."""
        for word in self._orders:
            self._recorder.words.start(word, order.ctypes.data)
        found: list[tuple[str, int]] = self._recorder.timed()
        self.taken = int(self._recorder.program.clock[0])
        self._optimizer.stepped(self.taken)
        return found

    def run(self, order: Array, steps: int) -> None:
        """Take a step for each batch of `order`, the numbers of samples; of one batch that was
        given, where `order` is None.

        `taken` says how many were taken. Where squares of gradients leave float64's range, the run
        ends before their step, and `unfinished` says so: `finish` takes it.

        Raises:
            NotFiniteError: after the steps that were `taken`, the loss of the next is not finite.
        """
        recorder = self._recorder
        if order is not None:
            for word in self._orders:
                recorder.words.start(word, order.ctypes.data)
        self.taken = recorder.run(steps)
        self._optimizer.stepped(self.taken)
        self.unfinished = self.taken < steps
        if self.unfinished and recorder.not_finite:
            raise NotFiniteError("loss", float(self.loss[self.taken]))

    def finish(self) -> None:
        """Take the step that a run left, with the optimizer's present settings.

        Raises:
            NotFiniteError: its gradients are not finite.
        """
        step(self._net, self._optimizer)
        self._recorder.ended(1)
        self.taken += 1


def check(net: Sequential, loss: Loss, optimizer: Optimizer) -> None:
    """Raise Uncapturable with the reason where a step of these can't be captured at all."""
    check_layers(net)
    check_loss(loss)
    if newer := newer_than("columns", optimizer, Optimizer, ("step",)):
        raise Uncapturable(f"the optimizer {optimizer!r} has a {newer} of its own")
    if optimizer.engine not in ("auto", "numba"):
        raise Uncapturable(f"the optimizer's engine is {optimizer.engine!r}")


class Kept:
    """Captured steps by what tells them apart: those that no longer hold go, and the oldest.

    Attributes:
        why_not: why there are none; "" where there are.
    """

    def __init__(self, net: Sequential, loss: Loss, optimizer: Optimizer) -> None:
        self._made: dict[Hashable, Captured] = {}
        self.why_not = ""
        try:
            check(net, loss, optimizer)
        except Uncapturable as error:
            self.why_not = str(error)

    def _step(self, key: Hashable, make: Callable[[], Captured]) -> Captured | None:
        """The one of that key, made where it is not there; None where it can't be."""
        made = self._made
        found = made.get(key)
        if found is not None and not found.holds():
            made.clear()
            found = None
        if found is None:
            try:
                found = make()
            except Uncapturable as error:
                self.why_not = str(error)
                return None
            while len(made) >= KEPT:
                made.pop(next(iter(made)))
            made[key] = found
        return found


class CapturedSteps(Kept):
    """Those of a run of `fit`, one for each size of batch; made when first needed.

    Args:
        gathered: whether batches are taken from `data` by number, or given.

    Attributes:
        data: x, y and weights as they are written down.
        why_not: why batches go through layer by layer instead; "" where they do not.
    """

    def __init__(
        self,
        run: Run,
        data: Batch,
        regularizers: Sequence[Regularizer],
        gathered: bool,
    ) -> None:
        super().__init__(run.net, run.loss, run.optimizer)
        self._run, self._regularizers, self._gathered = run, regularizers, gathered
        self._seconds: dict[int, float] = {}
        if not self.why_not:
            x, y, weights = data
            y, weights = run.loss.given_to_record(y, weights, run.net.dtype)
            self.data: Batch = (np.ascontiguousarray(x), y, weights)

    def of(self, batch_size: int) -> Captured | None:
        """The captured step for batches of that size, or None where there is none."""
        return None if self.why_not else self._step(batch_size, lambda: self._captured(batch_size))

    def _captured(self, batch_size: int) -> Captured:
        run = self._run
        return Captured(
            run.net, run.loss, run.optimizer, batch_size, self.data, self._regularizers,
            len(self.data[0]), self._gathered,
        )  # fmt: skip

    def pace(self, step: Captured) -> int:
        """How many steps a run should have."""
        seconds = self._seconds.get(step.batch_size, ROUND)
        return max(1, min(MOST, int(ROUND / seconds)))

    def took(self, step: Captured, steps: int, seconds: float) -> None:
        """A run of so many steps took so long."""
        if steps:
            self._seconds[step.batch_size] = max(seconds / steps, 1e-9)
