"""Saving a run while it goes on."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from sys import maxsize
from typing import Any

from ...backend.checks.numbers import count
from ..paths import expanded
from ..training.callbacks.callback import Callback
from ..training.callbacks.early_stopping import EarlyStopping
from ..training.run import Run
from .atomic_write import target_of
from .plain_json import plain
from .save import contents, save


class Checkpoint(Callback):
    """Saves the run to a file after every epoch, or every few, and after the last.

    Args:
        path: the file's name; each save replaces the one before. Its folder must be there. A
            relative one counts from the present working directory, wherever training goes.
        every: epochs from one save to the next, at least 1.
        keep_best: None, or one of the figures that `EarlyStopping` takes as `monitor`, such as
            "val_loss". After each epoch in which it is the best so far, whatever `every` is, the
            run is also saved beside `path`: "model-best.safetensors" for "model.safetensors".
        **metadata: kept in the files, see `save`.

    Attributes:
        path, best_path: the two files, absolute; best_path is None without `keep_best`.

    A process that is killed, at any moment, goes on from the last save:

        saved = load("model.safetensors")
        fit(saved.net, ..., optimizer=saved.optimizer, resume=saved)

    What can't be saved is refused when a run starts, not after its first epoch. After `resume` the
    figures of the history count as if they had been watched.

    Saved is what a finished epoch has left. After Ctrl-C amid an epoch that is the epoch before;
    and where `EarlyStopping` brings the best weights back, `path` has the last ones all the same.
    List it after an `EarlyStopping`, so that the epoch that ends the run is saved, whatever `every`
    is.

    Raises:
        TypeError, ValueError: `every` is not an integer >= 1, metadata is not JSON's; (at the
            start of a run) the history won't have the figure, or a layer can't be saved.
        FileNotFoundError, IsADirectoryError: (at the start) the folder is not there, or `path` is
            one.
        OSError: the file can't be written, which ends `fit`; the save before is intact.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from onepass.nets import SGD, Checkpoint, Dense, MeanSquaredError, Sequential, fit, load
        >>> x = np.linspace(-1, 1, 20, dtype="float32").reshape(-1, 1)
        >>> net = Sequential(Dense(1, 1))
        >>> options = {"loss": MeanSquaredError(), "progress": False}
        >>> with TemporaryDirectory() as folder:
        ...     options["callbacks"] = [Checkpoint(f"{folder}/line.safetensors")]
        ...     optimizer = SGD(net.parameters())
        ...     first = fit(net, (x, 2 * x), optimizer=optimizer, epochs=2, **options)
        ...     saved = load(f"{folder}/line.safetensors")
        ...     options |= {"optimizer": saved.optimizer, "resume": saved}
        ...     whole = fit(saved.net, (x, 2 * x), epochs=5, **options)
        >>> whole.epochs, whole.loss[:2] == first.loss
        (5, True)
    """

    def __init__(
        self,
        path: str | PathLike[str],
        every: int = 1,
        keep_best: str | None = None,
        **metadata: Any,
    ) -> None:
        self._given = str(path)
        self.path = expanded(path).absolute()
        self.every = count("every", every)
        self.keep_best = keep_best
        self.metadata: dict[str, Any] = plain(metadata, "metadata")
        self.best_path: Path | None = None
        self._watch: EarlyStopping | None = None
        if keep_best is not None:
            self.best_path = self.path.with_stem(f"{self.path.stem}-best")
            self._watch = EarlyStopping(keep_best, patience=maxsize, restore_best=False)

    def on_start(self, run: Run) -> None:
        run.by_first(lambda: [target_of(path) for path in (self.path, self.best_path) if path])
        contents(run.net, run.optimizer, run, run.schedule, self.metadata)
        if self._watch is not None:
            try:
                self._watch.on_start(run)
            except ValueError as error:
                raise ValueError(f"keep_best: {error}") from error

    def on_epoch(self, run: Run) -> None:
        if run.epoch % self.every == 0 or run.epoch >= run.epochs or run.stopped:
            save(self.path, run.net, run=run, **self.metadata)
        if self._watch is not None and self.best_path is not None:
            self._watch.on_epoch(run)
            if self._watch.best_epoch == run.epoch:
                save(self.best_path, run.net, run=run, **self.metadata)

    def __repr__(self) -> str:
        return f"Checkpoint({self._given!r}, every={self.every}, keep_best={self.keep_best!r})"
