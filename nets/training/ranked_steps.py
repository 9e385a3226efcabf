"""The updates of `fit` where several ranks take part: gradients of a part of each batch, and a step
together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ...backend import backend_of
from ..parallel.agreement import Met
from ..parallel.data_parallel import DataParallel
from ..types import Array
from .captured.step import Batch, Captured
from .captured.steps import CapturedBySize, captured_step, written_down
from .given.inputs import Pair
from .regularizers import Regularizer
from .run import Run
from .told.divergence import diverged
from .update import NotFiniteError, gradients, step


class RankedSteps(CapturedBySize):
    """Gradients of this rank's part of a batch, captured where that can be.

    Each rank multiplies the losses of its rows with a factor, so that the mean over ranks is that
    of the batch; penalties are added by rank 0 alone, times the number of ranks.

    Args:
        data: x, y and weights of all samples.
        why_not: why gradients go through layer by layer; "" where they may be captured.
        batch_size: rows that go through the layers of all ranks at a time.
    """

    def __init__(
        self,
        run: Run,
        ranks: DataParallel,
        data: Batch,
        regularizers: Sequence[Regularizer],
        batch_size: int,
        why_not: str,
    ) -> None:
        super().__init__(run.net, run.loss, None)
        if ranks.merging:
            why_not = why_not or f"{ranks.merging[0]!r} takes sums over all ranks"
        self.why_not = why_not or self.why_not
        self._run, self._ranks, self._data, self._batch_size = run, ranks, data, batch_size
        self._regularizers = tuple(regularizers) if ranks.rank == 0 else ()
        self._samples = len(data[0]) / ranks.size  # as if the penalty were `size` times as large

    def update(
        self, batch: Array, given: Callable[[Array], Pair], meet: Callable[[str, float, float], Met]
    ) -> tuple[Array, Array]:
        """One update of all ranks: (mean loss, sum of the metric) of the batch, before the step.

        Args:
            batch: the numbers of its samples, the same on all ranks.
            given: makes rows and targets of some of them, where the step is not captured.
            meet: of all ranks, at a place in words, with sums of the loss and the metric.

        Raises:
            FloatingPointError: the loss, or `clip_norm`'s norm, is not finite: on all ranks alike,
                and nothing was updated.
        """
        run, ranks = self._run, self._ranks
        part, bounds = self._own(batch)
        weight = ranks.size * len(part) / len(batch)
        captured = self._captured(part, weight)
        pair = None if captured or not self._takes_part(part) else given(part)
        if self._merges:  # what failed so far is told before their sums
            meet("a batch", 0.0, 0.0)
        inside: AbstractContextManager[None] = nullcontext()
        if self._merges:
            inside = ranks.agreement.closed(NotFiniteError)
        with inside:
            mean, metric = self._gradients(captured, pair, part, weight, bounds)
        on_cpu = run.net.backend.device == "cpu"
        if on_cpu:
            met = meet("a step", float(mean), float(metric))
            mean, metric = np.float64(met.loss / ranks.size), np.float64(met.metric)
            if not np.isfinite(mean):
                raise self._diverged("loss", mean, pair, part, batch, given)
        else:
            meet("a step", 0.0, 0.0)
        try:
            with ranks.agreement.closed(FloatingPointError):
                if not on_cpu:
                    mean, metric = self._sums(mean, metric)
                if run.loss_scaler is None:
                    step(run.net, run.optimizer)
                else:
                    run.loss_scaler.step(run.optimizer)
        except NotFiniteError as error:
            raise self._diverged(error.what, error.value, pair, part, batch, given) from error
        if run.loss_scaler is None:
            run.step += 1
        return mean, metric

    @property
    def _merges(self) -> bool:
        """Whether ranks wait for one another in the layers."""
        return bool(self._ranks.merging)

    def _own(self, batch: Array) -> tuple[Array, list[int]]:
        """This rank's samples of an update: a part of each of the batches whose gradients are added
        up. And where the parts begin and end among them: where ranks wait for one another in the
        layers, as many on each, and else those that have rows."""
        found, bounds = [], [0]
        for start in range(0, len(batch), self._batch_size):
            rows = batch[start : start + self._batch_size]
            own, _ = self._ranks.share(len(rows))
            found.append(rows[own])
            if len(found[-1]) or self._merges:
                bounds.append(bounds[-1] + len(found[-1]))
        if len(found) == 1:
            return found[0], bounds
        return backend_of(batch).xp.concatenate(found), bounds

    def _gradients(
        self,
        captured: Captured | None,
        pair: Pair | None,
        part: Array,
        weight: float,
        bounds: Sequence[int],
    ) -> tuple[Array, Array]:
        """Loss and metric of this rank's part, its gradients being the network's. On the CPU a loss
        that is not finite ends it, unless others wait in the layers for this rank."""
        run, net = self._run, self._run.net
        try:
            if captured is not None:
                captured.run(part, 1)
                return captured.loss[0], captured.metric[0]
            if pair is None:
                net.parameters().flat_grads[...] = 0
                return 0.0, 0.0
            weights = _weights(self._data[2], part, weight, net.dtype, net.backend.xp)
            return gradients(
                net, run.loss, self._regularizers, self._samples, *pair, weights,
                rows=bounds, scaler=run.loss_scaler, looks=not self._merges,
            )  # fmt: skip
        except NotFiniteError as error:
            return error.value, 0.0

    def _takes_part(self, part: Array) -> bool:
        """Whether this rank has rows, or sums of none to give."""
        return len(part) > 0 or self._merges

    def _captured(self, part: Array, weight: float) -> Captured | None:
        if self.why_not or self._merges or not len(part):
            return None

        def make() -> Captured:
            run, (x, y, weights) = self._run, self._data
            weights = _weights(weights, slice(None), weight, run.net.dtype, np, len(x))
            data = written_down(run.net, run.loss, x, y, weights)
            return captured_step(
                run.net, run.loss, None, len(part), data, self._regularizers, self._samples
            )

        return self._step((len(part), weight), make)

    def _looked_at(
        self, pair: Pair | None, part: Array, batch: Array, given: Callable[[Array], Pair]
    ) -> Pair | None:
        """Rows that may show what went wrong: this rank's, or where they are too few for a layer
        that has taken those of all ranks, the whole batch."""
        if len(part) >= self._run.net.least_rows:
            return pair or given(part)
        return given(batch) if self._merges else None

    def _sums(self, mean: Array, metric: Array) -> tuple[Array, Array]:
        """The mean over ranks, and the sum, of figures on a GPU."""
        xp = self._run.net.backend.xp
        own = xp.stack([xp.asarray(each, np.float64) for each in (mean, metric)])
        total = self._ranks.communicator.gathered(own).sum(axis=0)
        return total[0] / self._ranks.size, total[1]

    def _diverged(
        self, what: str, value: float, pair: Pair | None, *batch: Any
    ) -> FloatingPointError:
        """The error on all ranks, in the words of the first that finds a layer that went wrong."""
        ranks, run = self._ranks, self._run
        with ranks.agreement.closed(), ranks.apart():
            looked_at = self._looked_at(pair, *batch)
            pairs = [] if looked_at is None else [looked_at]
            own = str(diverged(run, what, value, pairs, training=True))
            told = ranks.communicator.objects((own, ": layer " in own or ": the " in own))
        rank = next((k for k, (_, found) in enumerate(told) if found), 0)
        named = f" (rank {rank})" if ranks.size > 1 and told[rank][1] else ""
        return ranks.agreement.alike(FloatingPointError(told[rank][0] + named))


def _weights(
    weights: Array | None, part: Array, weight: float, dtype: np.dtype[Any], xp: Any, rows: int = 0
) -> Array | None:
    """The weight of each row of a part, times the factor of this rank's losses; None for ones."""
    if weights is not None:
        own = weights[part]
        return own if weight == 1 else own * own.dtype.type(weight)
    if weight == 1:
        return None
    wide = np.float32 if dtype == np.float16 else dtype
    return xp.full(rows or len(part), weight, wide)
