"""A smaller learning rate when training has stopped getting better."""

from __future__ import annotations

from math import inf
from numbers import Integral

from ....backend.checks.numbers import decay_rate, non_negative, one_of
from ..run import Run
from .callback import Callback
from .monitor import check_monitor, larger_is_better


class ReduceOnPlateau(Callback):
    """Multiplies the learning rate by `factor` when a figure has stopped getting better.

        lr := max(factor lr, min_lr)    after more than `patience` epochs without an improvement

    That is PyTorch's ReduceLROnPlateau with its own defaults, but for `eps`: there a change of less
    than 1e-8 is left out. Keras' callback reduces an epoch sooner, after `patience` epochs, and its
    min_delta is an absolute threshold: its ReduceLROnPlateau(patience=10, min_delta=1e-4) is
    ReduceOnPlateau(patience=9, threshold_mode="abs").

    Args:
        monitor: which of the history's figures, as `EarlyStopping` takes it.
        factor: of each reduction, in [0, 1).
        patience: epochs without an improvement that are borne, at least 0: the next one reduces.
        threshold: how much better than the best so far counts as an improvement, >= 0.
        threshold_mode: "rel": a share of the best's size, in [0, 1); "abs": as it is.
        mode: "min" or "max", which are better; "auto": losses and errors when smaller, accuracy
            when larger.
        cooldown: epochs after a reduction that don't count, at least 0.
        min_lr: no rate falls below it, >= 0; one that is below already stays.

    Attributes:
        best: the figure's best value.
        bad_epochs: how many without an improvement, since it or since the last reduction.
        cooldown_left: how many that don't count are still to come.

    It sets `optimizer.lr`, which the rates of groups follow in proportion, and which a `schedule`
    would set anew before each update: `fit` takes one of the two.

    There is no state to save, as all of it follows from the history, and the rate is the
    optimizer's: after `resume` the figures of the history count as if they had been watched, and
    the run goes on bit for bit, wherever in the list of callbacks its `Checkpoint` was.

    Raises:
        TypeError, ValueError: an argument is out of its range; (at the start of a run) the history
            won't have the figure, or the run has a schedule.

    Example:
        >>> from onepass.nets import SGD, Dense, MeanSquaredError, ReduceOnPlateau, Sequential, fit
        >>> x, y = [[-1.0], [0.0], [1.0], [2.0]], [[0.0], [1.0], [0.0], [1.0]]
        >>> net = Sequential(Dense(1, 1), dtype="float64", device="cpu")
        >>> history = fit(
        ...     net,
        ...     (x, y),
        ...     loss=MeanSquaredError(),
        ...     optimizer=SGD(net.parameters(), lr=0.2),
        ...     epochs=60,
        ...     callbacks=[ReduceOnPlateau("loss", factor=0.5, patience=3)],
        ...     progress=False,
        ... )
        >>> history.lr[0], history.lr[-1] < 0.1
        (0.2, True)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        mode: str = "auto",
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self.monitor = monitor
        self.factor = decay_rate("factor", factor)
        self.patience = _epochs("patience", patience)
        self.threshold_mode: str = one_of("rel", "abs")("threshold_mode", threshold_mode)
        self.threshold = (
            decay_rate("threshold", threshold)
            if self.threshold_mode == "rel"
            else non_negative("threshold", threshold)
        )
        self.mode: str = one_of("auto", "min", "max")("mode", mode)
        self.cooldown = _epochs("cooldown", cooldown)
        self.min_lr = non_negative("min_lr", min_lr)
        self._reset()

    def _reset(self) -> None:
        self.best, self.bad_epochs, self.cooldown_left = inf, 0, 0
        self._larger = self._watched = False

    def on_start(self, run: Run) -> None:
        check_monitor(run, self.monitor)
        if run.schedule is not None:
            raise ValueError(
                f"schedule is {run.schedule!r}, which sets the learning rate before each update, "
                f"over what {self!r} would set; expected one of the two"
            )
        self._reset()
        self._larger = self.mode == "max" or (
            self.mode == "auto" and larger_is_better(run, self.monitor)
        )
        due = False
        for value in run.history.figures().get(self.monitor, ()):
            due = self._due(value)
        if due and run.optimizer.lr == run.history.lr[-1]:  # it was saved before it was reduced
            self._reduce(run)

    def on_epoch(self, run: Run) -> None:
        if self._due(run.history.figures()[self.monitor][-1]):
            self._reduce(run)

    def _due(self, value: float) -> bool:
        """Whether the rate is to be reduced after an epoch of that figure."""
        if self._better(value):
            self.best, self.bad_epochs, self._watched = value, 0, True
        else:
            self.bad_epochs += 1
        if self.cooldown_left:
            self.cooldown_left -= 1
            self.bad_epochs = 0
        if self.bad_epochs <= self.patience:
            return False
        self.bad_epochs, self.cooldown_left = 0, self.cooldown
        return True

    def _better(self, value: float) -> bool:
        """Never of nan; the first one that is a number is."""
        if not self._watched:
            return value == value
        least = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1)
        return value > self.best + least if self._larger else value < self.best - least

    def _reduce(self, run: Run) -> None:
        lr = run.optimizer.lr
        run.optimizer.lr = min(lr, max(self.factor * lr, self.min_lr))

    def __repr__(self) -> str:
        return (
            f"ReduceOnPlateau({self.monitor!r}, factor={self.factor}, patience={self.patience}, "
            f"threshold={self.threshold}, threshold_mode={self.threshold_mode!r}, "
            f"mode={self.mode!r}, cooldown={self.cooldown}, min_lr={self.min_lr})"
        )


def _epochs(name: str, value: int) -> int:
    """A number of epochs, perhaps none."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected an integer >= 0")
    if value < 0:
        raise ValueError(f"{name} is {value!r}; expected at least 0")
    return int(value)
