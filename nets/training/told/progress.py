"""The progress bar of training."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from time import monotonic
from types import TracebackType
from typing import Any, Self

from ..history import History

_REDRAW = 0.2
"""Seconds from one drawing in a notebook to the next."""


class Progress:
    """A context that is told of batches and epochs, and shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def batch(self) -> None:
        """One more batch was trained on."""

    def epoch(self, history: History, samples: int) -> None:
        """One more epoch of `samples` samples was added to `history`."""


class RichProgress(Progress):
    """A bar with epoch, loss, metric (held-out, where there is any) and samples a second.

    In a notebook it is an output of its cell that is written anew, without ipywidgets. Where
    another bar of rich's is on the screen and rich (before 14.1) takes no second one, and where
    output goes to a file, one line at the end stands for the bar.

    Args:
        epochs: how many are planned.
        batches: batches an epoch.
        done: epochs that were finished before.
        lr: show the learning rate too.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, epochs: int, batches: int, done: int = 0, lr: bool = False) -> None:
        try:
            from rich import progress as rich
        except ImportError as error:
            raise ImportError(
                "progress=True needs rich: pip install rich, or pass progress=False"
            ) from error
        self.epochs = epochs
        self.lr = lr
        self.bar = rich.Progress(
            rich.TextColumn("epoch {task.fields[epoch]}"),
            rich.BarColumn(bar_width=2 if lr else 10),  # all fits into 80 columns
            rich.TextColumn("{task.fields[figures]}"),
        )
        self.task = self.bar.add_task(
            "training",
            total=epochs * batches,
            completed=done * batches,
            epoch=self._epoch(done),
            figures="",
        )
        self.live = False
        self.cell: Any = None
        self.drawn = 0.0

    def __enter__(self) -> Self:
        from rich.errors import LiveError

        if self.bar.console.is_jupyter:
            display = import_module("IPython.display").display
            self.cell = display(self.bar, display_id=True)
            return self
        with suppress(LiveError):
            self.bar.start()
            self.live = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.bar.stop()
        elif self.cell is not None:
            self.cell.update(self.bar)
        else:
            self.bar.console.print(self.bar)

    def batch(self) -> None:
        self.bar.advance(self.task)
        self._draw(monotonic() - self.drawn)

    def epoch(self, history: History, samples: int) -> None:
        figures = [f"loss {history.loss[-1]:.4f}", _metric(history)]
        if history.val_metric:
            figures.append(f"held-out {_shown(history.metric_name, history.val_metric[-1])}")
        figures.append(f"{_rate(samples / history.seconds[-1])} samples/s")
        if self.lr:
            figures.append(f"lr {history.lr[-1]:.2g}")
        shown = (" " if self.lr else "  ").join(figures)
        self.bar.update(self.task, epoch=self._epoch(history.epochs), figures=shown)
        self._draw(history.seconds[-1])

    def _draw(self, seconds: float) -> None:
        """Write the bar anew in a notebook's cell, where so many seconds are worth it."""
        if self.cell is not None and seconds > _REDRAW:
            self.cell.update(self.bar)
            self.drawn = monotonic()

    def _epoch(self, done: int) -> str:
        return f"{min(done + 1, self.epochs)}/{self.epochs}"


def _metric(history: History) -> str:
    name = "acc" if history.metric_name == "accuracy" else history.metric_name
    return f"{name} {_shown(history.metric_name, history.metric[-1])}"


def _shown(name: str, value: float) -> str:
    return f"{value:.1%}" if name == "accuracy" else f"{value:.4g}"


def _rate(samples: float) -> str:
    return f"{samples:,.0f}" if samples < 1e6 else f"{samples / 1e6:.3g}M"
