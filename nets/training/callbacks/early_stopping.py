"""Training ends when it has stopped getting better."""

from __future__ import annotations

from math import inf, isnan

from ....backend.checks.numbers import count, flag, non_negative
from ...types import HostArray
from ..run import Run
from .callback import Callback
from .monitor import check_monitor, larger_is_better


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
        check_monitor(run, self.monitor)
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
        larger = larger_is_better(run, self.monitor)
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
