"""The progress bar of training."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from .history import History


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
    """A bar with epoch, loss, accuracy (held-out, where there is any) and samples a second.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, epochs: int, batches: int) -> None:
        try:
            from rich import progress as rich
        except ImportError as error:
            raise ImportError(
                "progress=True needs rich: pip install rich, or pass progress=False"
            ) from error
        self.epochs = epochs
        self.bar = rich.Progress(
            rich.TextColumn("epoch {task.fields[epoch]}"),
            rich.BarColumn(bar_width=10),
            rich.TextColumn("{task.fields[figures]}"),
        )
        self.task = self.bar.add_task(
            "training", total=epochs * batches, epoch=f"1/{epochs}", figures=""
        )

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def batch(self) -> None:
        self.bar.advance(self.task)

    def epoch(self, history: History, samples: int) -> None:
        accuracy = f"acc {history.accuracy[-1]:.1%}"
        if history.val_accuracy:
            accuracy += f"  held-out {history.val_accuracy[-1]:.1%}"
        self.bar.update(
            self.task,
            epoch=f"{min(history.epochs + 1, self.epochs)}/{self.epochs}",
            figures=(
                f"loss {history.loss[-1]:.4f}  {accuracy}  "
                f"{samples / history.seconds[-1]:,.0f} samples/s"
            ),
        )
