"""Training runs: an epoch to time, and curves over epochs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ....nets import Dataset
from ...measuring.candidate import Candidate
from ...measuring.workload import Workload
from ...peers.trainers import PEER_TRAINERS, why_no_trainer
from ...report.record import Curve
from .matrix_products import epoch_products
from .onepass_trainer import trainer
from .same_network import assert_accurate, assert_alike

PATHS = ("onepass", "array", *PEER_TRAINERS, "product")
_LARGE = 10_000  # samples from which an epoch needs no call before it that warms the caches
_SLOW_TO_MAKE = "torch compile"


class Epoch(Workload):
    """One pass over the training part: shuffle, gather, forward, loss, backward, step.

    Nothing is evaluated in it. "product" is the floor: its matrix products alone.
    """

    section = "training"
    pause = 0.1  # other libraries' threads wait at full speed for milliseconds

    def __init__(self, data: Dataset, batch: int = 128, compiled: bool = True) -> None:
        """compiled: whether torch.compile, which takes long to begin, is among the paths."""
        self.compiled = compiled
        self.data, self.batch = data, batch
        self.operation = "epoch"
        self.label = f"{data.name.lower()}, batch {batch}"
        self.dtype, self.device = "float32", "cpu"
        self.warm = len(data.x_train) < _LARGE

    @property
    def size(self) -> int:
        """Samples."""
        return len(self.data.x_train)

    @property
    def bytes(self) -> int:
        """Nothing is said: what a product has to move depends on the caches."""
        return 0

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for path in PATHS if self.compiled or path != _SLOW_TO_MAKE)

    def missing(self, path: str) -> str:
        return why_no_training(path)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        chosen = list(paths)
        trainers = {
            path: trainer(path, self.data, self.batch) for path in chosen if path != "product"
        }
        reference = partial(trainer, "array", self.data, self.batch)
        assert_alike(self.data, self.batch, trainers, reference)
        if trainers:
            assert_accurate(self.data, self.batch, trainers, reference)
        pair = self.data.x_train, self.data.y_train
        width = self.data.x_train.shape[1]
        candidates = {
            path: Candidate(partial(made.train, pair), made.reset)
            for path, made in trainers.items()
        }
        if "product" in chosen:
            floor = epoch_products(self.size, width, self.data.classes, self.batch)
            candidates["product"] = Candidate(floor)
        return {path: candidates[path] for path in chosen}


def why_no_training(path: str) -> str:
    """Why this path can't train here; "" if it can."""
    return why_no_trainer(path) if path in PEER_TRAINERS else ""


def train_curves(data: Dataset, path: str, epochs: int, batch: int, seed: int = 0) -> Curve:
    """Train by a path that has accuracies of both parts, and measure the test part's each epoch."""
    history = trainer(path, data, batch, seed).train(
        (data.x_train, data.y_train), epochs, (data.x_test, data.y_test)
    )
    return Curve(
        data=data.name.lower(),
        path=path,
        batch=batch,
        loss=history.loss,
        accuracy=history.accuracy,
        test_accuracy=history.val_accuracy,
        seconds=history.seconds,
    )
