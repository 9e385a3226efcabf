"""What is told of a training run while it goes on, and may end it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from ..run import Run


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
