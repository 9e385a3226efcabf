"""What is told of a training run while it goes on, and may end it."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isnan
from typing import TypeAlias

from ...backend.checks.numbers import count, flag, non_negative
from ..types import HostArray
from .run import Run


class Callback:
    """Told of a run by `fit`; each method does nothing by default.

    `run.optimizer.lr = ...` changes the learning rate from the next batch on (where no schedule
    sets it), `run.stop("reason")` ends the run, and `run.net` can be measured on anything. What a
    method raises ends `fit`.
    """

    def on_start(self, run: Run) -> None:
        """Everything was checked; nothing has been trained yet, or not since `resume`."""

    def on_batch(self, run: Run) -> None:
        """One more update was done. Where `fit` goes layer by layer a GPU may still be at work:
        reading `run.batch_loss` waits."""

    def on_epoch(self, run: Run) -> None:
        """One more epoch was finished, validated, and added to `run.history`."""

    def on_end(self, run: Run) -> None:
        """Training ended: all epochs are done, it was stopped, or Ctrl-C asked. Not on errors."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


Callbacks: TypeAlias = Callback | Iterable[Callback] | None
"""One, several, or none."""


def callbacks_of(given: Callbacks) -> tuple[Callback, ...]:
    """What `fit` was given as `callbacks`, one after another; TypeError where one is none."""
    if isinstance(given, Callback):
        return (given,)
    found = () if given is None else tuple(given) if isinstance(given, Iterable) else (given,)
    for callback in found:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks hold {callback!r}; expected such as EarlyStopping()")
    return found


class EarlyStopping(Callback):
    """Ends training when a figure has stopped getting better, and brings the best weights back.

    Args:
        monitor: which of the history's figures: "val_loss", "loss", "val_accuracy", "accuracy",
            "val_mae" or "mae". Losses and errors are better when smaller, accuracy when larger.
        patience: epochs without an improvement after which training ends, at least 1.
        min_delta: how much better than the best so far counts as an improvement, >= 0.
        restore_best: when training ends, for whatever reason but an error, parameters and running
            statistics become those after the best epoch. The optimizer stays as it is.

    Attributes:
        best: the figure's best value; best_epoch: the epoch it is of, counted from 1.
        best_state: the network's state_dict after that epoch, on the host; None without
            `restore_best`.

    After `resume` the figures of the history count as if they had been watched; but only weights of
    epochs since then can be restored. A figure that is nan, as a metric of one's own may be, is no
    improvement.

    Raises:
        TypeError, ValueError: an argument is out of its range; (at the start of a run) the history
            won't have the figure.

    Source: Prechelt 1998, Early Stopping - But When?
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        self.monitor = monitor
        self.patience = count("patience", patience)
        self.min_delta = non_negative("min_delta", min_delta)
        self.restore_best = flag("restore_best", restore_best)
        self._reset()

    def _reset(self) -> None:
        self.best, self.best_epoch = inf, 0
        self.best_state: dict[str, HostArray] | None = None

    def on_start(self, run: Run) -> None:
        names = ["loss", run.loss.metric]
        names += [f"val_{name}" for name in names] if run.validated else []
        if self.monitor not in names:
            needs = "" if run.validated else ", or validation=(x, y) for fit"
            raise ValueError(
                f"monitor is {self.monitor!r}; expected {', '.join(map(repr, names))}{needs}"
            )
        self._reset()
        for epoch, value in enumerate(run.history.figures().get(self.monitor, ()), start=1):
            self._improved(run, value, epoch)
        if self.best_epoch and self.best_epoch == run.epoch and self.restore_best:
            self.best_state = run.net.state_dict()

    def on_epoch(self, run: Run) -> None:
        value = run.history.figures()[self.monitor][-1]
        if self._improved(run, value, run.epoch):
            if self.restore_best:
                self.best_state = run.net.state_dict()
        elif run.epoch - self.best_epoch >= self.patience:
            since = f"since epoch {self.best_epoch}" if self.best_epoch else "than nan"
            run.stop(f"no better {self.monitor} {since}")

    def on_end(self, run: Run) -> None:
        if self.best_state is not None:
            run.net.load_state_dict(self.best_state)

    def _improved(self, run: Run, value: float, epoch: int) -> bool:
        """Whether `value` is better than the best; then it is the best."""
        if isnan(value):
            return False
        larger = run.loss.larger_is_better and not self.monitor.endswith("loss")
        gain = value - self.best if larger else self.best - value
        if self.best_epoch and not gain > self.min_delta:
            return False
        self.best, self.best_epoch = value, epoch
        return True

    def __repr__(self) -> str:
        return (
            f"EarlyStopping({self.monitor!r}, patience={self.patience}, "
            f"min_delta={self.min_delta}, restore_best={self.restore_best})"
        )
