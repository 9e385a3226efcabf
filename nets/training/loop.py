"""The training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from time import perf_counter
from typing import TypeAlias

import numpy as np

from ...backend.foreign import taken_in
from ...kernels import global_norm
from ..data.batches import minibatches
from ..network.prediction import evaluate, parts
from ..types import Array
from .callbacks import Callback
from .divergence import diverged
from .inputs import Pair
from .interrupt import Interrupt
from .progress import Progress
from .regularizers import Regularizer
from .run import Run

Augment: TypeAlias = Callable[[Array, np.random.Generator], Array]


@dataclass
class Loop:
    """A run with all it works on: checked, and on the network's device."""

    run: Run
    x: Array
    y: Array
    weights: Array | None
    held_out: Pair | None
    held_out_weights: Array | None
    batch_size: int
    regularizers: tuple[Regularizer, ...]
    augment: Augment | None
    callbacks: tuple[Callback, ...]
    interrupt: Interrupt
    bar: Progress

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
        total: Array = 0.0
        measured: Array = 0
        seen = 0
        batch: Array = None
        for batch in minibatches(n, self.batch_size, run.rng, run.net.backend):
            mean, metric = self._update(batch)
            total = total + mean * len(batch)
            measured = measured + metric
            seen += len(batch)
            self.bar.batch()
            for callback in self.callbacks:
                callback.on_batch(run)
            self._look_for_interrupt()
            if run.stopped:
                break
        if seen < n:
            return
        loss = float(total) / n  # the one line that waits for the device
        if not isfinite(loss):
            raise diverged(run, "loss", loss, [self._rows(batch)], training=True)
        seconds = perf_counter() - start
        held_out = None if self.held_out is None else self._validate(*self.held_out)
        history = run.history
        if held_out is not None:
            history.val_loss.append(held_out[0])
            history.val_metric.append(held_out[1])
        history.loss.append(loss)
        history.metric.append(float(measured) / n)
        history.seconds.append(seconds)
        history.lr.append(run.optimizer.lr)
        run.epoch += 1
        self.bar.epoch(history, n)
        for callback in self.callbacks:
            callback.on_epoch(run)
        self._look_for_interrupt()

    def _update(self, batch: Array) -> tuple[Array, Array]:
        """One update; (mean loss, sum of the metric) before it, 0-d on the network's device."""
        run, net, m = self.run, self.run.net, len(self.x)
        if run.schedule is not None:
            self._set_lr()
        x, y = self._rows(batch)
        if self.augment is not None:
            x = self._augmented(x)
        output = net.forward(x, train=True)
        if self.weights is None:
            mean, gradient = run.loss(output, y)
        else:
            mean, gradient = run.loss(output, y, self.weights.take(batch))
        for regularizer in self.regularizers:
            mean = mean + regularizer.penalty(net, m)
        if net.backend.device == "cpu" and not isfinite(mean):  # on a GPU this would wait
            raise diverged(run, "loss", float(mean), [(x, y)], training=True)
        metric = run.loss.measure(output, y)
        net.backward(gradient, input_grad=False)
        for regularizer in self.regularizers:
            regularizer.add_gradient(net, m)
        try:
            run.optimizer.step()
        except FloatingPointError as error:  # clip_norm found gradients that are not finite
            norm = global_norm([net.parameters().flat_grads])
            raise diverged(run, "gradients' norm", norm, [(x, y)], training=True) from error
        run.step += 1
        run.batch_loss = mean
        return mean, metric

    def _rows(self, batch: Array) -> Pair:
        return self.x.take(batch, axis=0), self.y.take(batch, axis=0)

    def _set_lr(self) -> None:
        run = self.run
        if run.schedule is None:
            return
        lr = run.schedule(run.epoch, run.step + 1)
        if lr != run.optimizer.lr:
            try:
                run.optimizer.lr = lr
            except (TypeError, ValueError) as error:
                raise type(error)(f"schedule({run.epoch}, {run.step + 1}): {error}") from error

    def _augmented(self, x: Array) -> Array:
        found = self.augment(x, self.run.rng) if self.augment else x
        (found,) = taken_in(["what augment returned"], [found])
        if getattr(found, "shape", None) != x.shape:
            raise ValueError(
                f"augment returned {getattr(found, 'shape', type(found).__name__)}; expected an "
                f"array of the shape it was given, {x.shape}"
            )
        return found

    def _validate(self, x: Array, y: Array) -> tuple[float, float]:
        run = self.run
        loss, metric = evaluate(run.net, x, y, run.loss, self.held_out_weights)
        if not isfinite(loss):
            batches = ((x[part], y[part]) for part in parts(len(x)))
            raise diverged(run, "validation loss", loss, batches, training=False)
        return loss, metric

    def _look_for_interrupt(self) -> None:
        if self.interrupt.asked:
            self.run.stop("interrupted")
