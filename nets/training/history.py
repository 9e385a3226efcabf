"""What training recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass
class History:
    """One number an epoch in each list.

    Attributes:
        loss: the mean over the epoch's batches, each taken before its own update; with the penalty
            of a regularizer and with weights of classes and samples, where there are any.
        metric: the loss's metric over the same batches, such as accuracy; without weights.
        val_loss, val_metric: over the validation data after the epoch, without penalty, the loss
            with weights, where there are any; empty where there is no validation data.
        seconds: wall-clock time of the epoch's training, without validation.
        lr: the learning rate of the epoch's last update.
        metric_name: "accuracy", "mae" or what else the loss measures. `history.accuracy` and
            `history.mae` are `metric` under its own name, and so with `val_`.
        path: "captured", where batches went through as captured steps, by compiled code on the CPU
            or a graph on a GPU; else why they went through layer by layer. "L-BFGS" of `fit_lbfgs`.
        stopped: why training ended before its time: "interrupted" (by Ctrl-C), the reason that a
            callback gave, or "". Of `fit_lbfgs`: "converged", "interrupted", or what SciPy says.

    `dataclasses.asdict(history)` holds all of it in JSON's types; `History(**that)` has it back.
    """

    loss: list[float] = field(default_factory=list)
    metric: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_metric: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    metric_name: str = "accuracy"
    stopped: str = ""
    path: str = ""

    @property
    def epochs(self) -> int:
        """How many epochs were finished."""
        return len(self.loss)

    @property
    def accuracy(self) -> list[float]:
        """`metric`, where it is the accuracy; AttributeError where not."""
        return self._named("accuracy", self.metric)

    @property
    def val_accuracy(self) -> list[float]:
        """`val_metric`, where it is the accuracy; AttributeError where not."""
        return self._named("accuracy", self.val_metric)

    @property
    def mae(self) -> list[float]:
        """`metric`, where it is the mean absolute error; AttributeError where not."""
        return self._named("mae", self.metric)

    @property
    def val_mae(self) -> list[float]:
        """`val_metric`, where it is the mean absolute error; AttributeError where not."""
        return self._named("mae", self.val_metric)

    def _named(self, name: str, values: list[float]) -> list[float]:
        if name != self.metric_name:
            raise AttributeError(f"this history has the metric {self.metric_name!r}, no {name!r}")
        return values

    def figures(self) -> dict[str, list[float]]:
        """Name -> list of each that was recorded: "loss", "accuracy", "val_loss", ..."""
        found = {
            "loss": self.loss,
            self.metric_name: self.metric,
            "val_loss": self.val_loss,
            f"val_{self.metric_name}": self.val_metric,
            "lr": self.lr,
            "seconds": self.seconds,
        }
        return {name: values for name, values in found.items() if values}

    def to_pandas(self) -> Any:
        """A pandas DataFrame: a row an epoch, counted from 1, and a column for each of `figures`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas") from error
        index = pandas.RangeIndex(1, self.epochs + 1, name="epoch")
        return pandas.DataFrame(self.figures(), index=index)

    def plot(self, axes: Sequence[Any] | None = None) -> Any:
        """Draw loss and metric over the epochs: training solid, validation dashed; the two axes.

        Args:
            axes: two of matplotlib's Axes to draw on; a new figure's by default.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: no epoch was finished, or `axes` are not two.
        """
        from .history_plot import plot

        loss = "loss", self.loss, self.val_loss
        return plot((loss, (self.metric_name, self.metric, self.val_metric)), axes)
