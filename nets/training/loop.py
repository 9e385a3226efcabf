"""The training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np

from ...backend.foreign import taken_in
from ...backend.memory_pool import rows_taken
from ..data.batches import shuffled
from ..network.prediction import evaluate, parts
from ..parallel.agreement import Met
from ..parallel.data_parallel import DataParallel
from ..parallel.evaluation import evaluate_together
from ..parallel.same_everywhere import check_same, facts_of_steps
from ..sparse_rows import SparseRows
from ..types import Array
from .callbacks.callback import Callback
from .captured.step import Batch, Captured
from .captured.steps import CapturedSteps
from .given.inputs import Pair
from .loss_scaler import LossScaler
from .ranked_steps import RankedSteps
from .regularizers import Regularizer
from .run import Run
from .told.divergence import diverged
from .told.interrupt import Interrupt
from .told.progress import Progress
from .total import Total
from .update import NotFiniteError, step, update

Augment: TypeAlias = Callable[[Array, np.random.Generator], Array]


@dataclass
class Loop:
    """A run with all it works on: checked, and on the network's device."""

    run: Run
    x: Array  # or SparseRows
    y: Array
    weights: Array | None
    held_out: Pair | None
    held_out_weights: Array | None
    batch_size: int
    shuffle: bool
    accumulate: int
    scaler: LossScaler | None
    regularizers: tuple[Regularizer, ...]
    augment: Augment | None
    callbacks: tuple[Callback, ...]
    interrupt: Interrupt
    bar: Progress
    ranks: DataParallel | None = None

    def __post_init__(self) -> None:
        data: Batch = self.x, self.y, self.weights
        gathered, ranks = self.augment is None, self.ranks
        why_not = ""
        if self.accumulate > 1:
            why_not = f"accumulate={self.accumulate} adds up gradients of batches"
        if self.scaler is not None:
            why_not = "loss_scaler may leave steps out"
            self.run.count_by_optimizer()
        self._sparse = isinstance(self.x, SparseRows)
        if self._sparse:
            why_not = "x is sparse, and its rows are taken a batch at a time"
        self.captured: CapturedSteps | RankedSteps
        if ranks is None:
            self.captured = CapturedSteps(self.run, data, self.regularizers, gathered, why_not)
        else:
            why_not = why_not or ("" if gathered else "augment makes each batch of several ranks")
            self.captured = RankedSteps(
                self.run, ranks, data, self.regularizers, self.batch_size, why_not
            )
        nothing = Callback.on_batch
        self.watched = self.augment is not None or any(
            getattr(each.on_batch, "__func__", None) is not nothing for each in self.callbacks
        )

    def run_epochs(self) -> None:
        """Train until all epochs are done, or the run was stopped."""
        run = self.run
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for callback in self.callbacks:
                callback.on_start(run)
            self._look_for_interrupt()
            while run.epoch < run.epochs and not run.stopped:
                self._epoch()
            for callback in self.callbacks:
                callback.on_end(run)
        self._look_for_interrupt()

    def _epoch(self) -> None:
        """One pass over the data; recorded where it was not stopped midway."""
        run, n = self.run, len(self.x)
        start = perf_counter()
        means, metrics = Total(run.net.backend), Total(run.net.backend)
        seen = 0
        batch: Array = None
        # sparse rows are taken on the CPU, whatever the network's device
        where = None if self._sparse else run.net.backend
        order = shuffled(n, run.rng if self.shuffle else None, where)
        if self.ranks is not None and self.augment is not None:
            self._own_rng = np.random.default_rng([int(run.rng.integers(1 << 62)), run.rank])
        while seen < n and not run.stopped:
            for samples, mean, metric in self._round(order[seen:]):
                batch = order[seen : seen + samples]
                means.add(mean, samples)
                metrics.add(metric)
                seen += samples
                self.bar.batch()
            for callback in self.callbacks:
                callback.on_batch(run)
            self._look_for_interrupt(amid=True)
        if seen < n:
            return
        loss = means.sum() / n  # here the device is waited for
        if not isfinite(loss):
            late = run.net.backend.device != "cpu"
            batches = [self._rows(batch)]
            raise self._diverged_alike("loss", loss, batches, training=True, late=late)
        if self.scaler is not None:
            self.scaler.wait()
        seconds, metric = perf_counter() - start, metrics.sum() / n
        if self.ranks is not None:
            loss, metric, seconds = self._settled(self.ranks, loss, metric, seconds)
        held_out = None if self.held_out is None else self._validate(*self.held_out)
        history = run.history
        history.path = self.captured.why_not or "captured"
        if held_out is not None:
            history.val_loss.append(held_out[0])
            history.val_metric.append(held_out[1])
        history.loss.append(loss)
        history.metric.append(metric)
        history.seconds.append(seconds)
        history.lr.append(run.optimizer.lr)
        run.epoch += 1
        self.bar.epoch(history, n)
        for callback in self.callbacks:
            callback.on_epoch(run)
            self._look_for_interrupt()
        self._look_for_interrupt()

    def _round(self, rest: Array) -> list[tuple[int, Array, Array]]:
        """One update or more of what is left of an epoch: samples, mean loss, sum of the metric.

        Several in a row, where they are captured, and no callback looks at each batch.
        """
        batch = rest[: self.batch_size * self.accumulate]
        self._set_lr(0)
        if isinstance(self.captured, RankedSteps):
            mean, metric = self.captured.update(batch, self._made, self._meet)
            self.run.batch_loss = mean
            return [(len(batch), mean, metric)]
        captured = self.captured.of(len(batch))
        if captured is None:
            return [(len(batch), *self._update(batch))]
        run, size, apart = self.run, captured.batch_size, self.captured.apart
        most = min(len(rest) // size, self.captured.pace(captured))
        steps = 1 if apart else self._prepared(captured, most)
        x, y = (None, None) if self.augment is None else self._given(captured, batch)
        start = perf_counter()
        try:
            captured.run(rest, steps)
            if captured.unfinished:
                self._set_lr(captured.taken)
                captured.finish()
            if apart:
                step(run.net, run.optimizer)
        except NotFiniteError as error:
            taken = 0 if apart else captured.taken
            run.step += taken
            self._set_lr(0)
            if x is None:
                x, y = self._rows(rest[taken * size :][:size])
            raise self._diverged(error, x, y) from error
        taken = captured.taken
        self.captured.took(captured, taken, perf_counter() - start)
        run.step += taken
        run.batch_loss = captured.loss[taken - 1]
        figures = zip(captured.loss[:taken].tolist(), captured.metric[:taken].tolist(), strict=True)
        return [(size, mean, metric) for mean, metric in figures]

    def _prepared(self, captured: Captured, most: int) -> int:
        """How many steps are to run now, `most` at most, each prepared with its learning rate."""
        captured.prepare(0)
        for ahead in range(1, 1 if self.watched else most):
            if self.interrupt.asked:
                return ahead
            try:
                self._set_lr(ahead)
            except Exception:  # told when its turn comes
                return ahead
            if not captured.prepare(ahead):  # captured anew when its turn comes
                return ahead
        return 1 if self.watched else most

    def _given(self, captured: Captured, batch: Array) -> Pair:
        """Rows and targets of an augmented batch, which the captured step is given."""
        assert isinstance(self.captured, CapturedSteps)
        _, targets, weights = self.captured.data
        x, y = self._augmented(rows_taken(self.x, batch)), targets.take(batch, axis=0)
        captured.give(x, y, None if weights is None else weights.take(batch))
        return x, y

    def _made(self, batch: Array) -> Pair:
        """Rows and targets of a batch, augmented."""
        x, y = self._rows(batch)
        return self._augmented(x), y

    def _update(self, batch: Array) -> tuple[Array, Array]:
        """One update; (mean loss, sum of the metric) before it, 0-d on the network's device."""
        run = self.run
        x, y = self._made(batch)
        weights = None if self.weights is None else self.weights.take(self._there(batch))
        m = len(self.x)
        try:
            mean, metric = update(
                run.net, run.loss, run.optimizer, self.regularizers, m, x, y, weights,
                waits=not self.captured.why_not,  # then it is the first of its size
                rows=self.batch_size,
                scaler=self.scaler,
            )  # fmt: skip
        except NotFiniteError as error:
            raise self._diverged(error, x, y) from error
        if self.scaler is None:
            run.step += 1
        run.batch_loss = mean
        return mean, metric

    def _diverged(self, error: NotFiniteError, x: Array, y: Array) -> FloatingPointError:
        return diverged(self.run, error.what, error.value, [(x, y)], training=True)

    def _rows(self, batch: Array) -> Pair:
        return rows_taken(self.x, batch), rows_taken(self.y, self._there(batch))

    def _there(self, batch: Array) -> Array:
        """The numbers of a batch on the network's device."""
        return self.run.net.backend.asarray(batch) if self._sparse else batch

    def _set_lr(self, ahead: int) -> None:
        """Set the learning rate of the update after that many more."""
        run = self.run
        if run.schedule is None:
            return
        step = run.step + 1 + ahead
        lr = run.schedule(run.epoch, step)
        if lr != run.optimizer.lr:
            try:
                run.optimizer.lr = lr
            except (TypeError, ValueError) as error:
                raise type(error)(f"schedule({run.epoch}, {step}): {error}") from error

    def _augmented(self, x: Array) -> Array:
        if self.augment is None:
            return x
        found = self.augment(x, self.run.rng if self.ranks is None else self._own_rng)
        (found,) = taken_in(["what augment returned"], [found])
        if getattr(found, "shape", None) != x.shape:
            raise ValueError(
                f"augment returned {getattr(found, 'shape', type(found).__name__)}; expected an "
                f"array of the shape it was given, {x.shape}"
            )
        return found

    def _validate(self, x: Array, y: Array) -> tuple[float, float]:
        run, weights = self.run, self.held_out_weights
        if self.ranks is None:
            loss, metric = evaluate(run.net, x, y, run.loss, weights)
        else:
            loss, metric = evaluate_together(self.ranks, x, y, run.loss, weights)
        if not isfinite(loss):
            batches = ((x[part], y[part]) for part in parts(len(x)))
            raise self._diverged_alike("validation loss", loss, batches, training=False)
        return loss, metric

    def _settled(self, ranks: DataParallel, *figures: float) -> tuple[float, ...]:
        """Rank 0's figures, once its running statistics are those of all ranks, which must have
        made their steps alike: one with another lr has other parameters now."""
        self._meet("the end of an epoch", 0.0, 0.0)
        with ranks.agreement.closed():
            check_same(ranks.agreement, facts_of_steps(self.run.optimizer))
            ranks.settle()
            found: tuple[float, ...] = ranks.communicator.object_from_first(figures)
            return found

    def _diverged_alike(self, *what: Any, **how: Any) -> FloatingPointError:
        """`diverged`, of a figure that all ranks have."""
        if self.ranks is None:
            return diverged(self.run, *what, **how)
        with self.ranks.apart():
            return self.ranks.agreement.alike(diverged(self.run, *what, **how))

    def _meet(self, where: str, loss: float, metric: float) -> Met:
        """Meet all ranks; where one of them wants to stop, or was asked to, all will."""
        assert self.ranks is not None
        stopped = self.run.stopped
        met = self.ranks.agreement.meet(where, loss, metric, self.interrupt.asked, stopped)
        self._asked = self._asked or met.interrupted > 0
        if met.stopped:
            self.run.stop(met.stopped)
        return met

    _asked = False

    def _look_for_interrupt(self, amid: bool = False) -> None:
        """Stop where Ctrl-C asks to; with ranks, all of them where one wants to stop. `amid` an
        epoch they have met already, unless a callback may want to stop."""
        if self.ranks is None:
            self._asked = self.interrupt.asked
        elif not amid or self.watched:
            self._meet("the end of a callback", 0.0, 0.0)
        if self._asked:
            self.run.stop("interrupted")
