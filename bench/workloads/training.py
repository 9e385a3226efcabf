"""Training runs: an epoch to time, and curves over epochs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from ...nets import Dataset
from ..cases.trainer import LR, Trainer
from ..measuring.candidate import Candidate
from ..measuring.workload import Workload
from ..peers.steps import why_missing
from ..report.record import Curve
from .matrix_products import epoch_products
from .onepass_trainer import trainer

PATHS = ("onepass", "array", "torch fused", "product")
_LARGE = 10_000  # samples from which an epoch needs no call before it that warms the caches
_BATCHES = 4
"""Batches after which the paths are compared, before anything is timed."""


class Epoch(Workload):
    """One pass over the training part: shuffle, gather, forward, loss, backward, step.

    Nothing is evaluated in it. "product" is the floor: its matrix products alone.
    """

    section = "training"

    def __init__(self, data: Dataset, batch: int = 128) -> None:
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
        return PATHS

    def missing(self, path: str) -> str:
        return why_no_training(path)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        chosen = list(paths)
        trainers = {
            path: trainer(path, self.data, self.batch) for path in chosen if path != "product"
        }
        _assert_alike(self.data, self.batch, trainers)
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
    return why_missing(path, "adam") if path == "torch fused" else ""


def train_curves(data: Dataset, path: str, epochs: int, batch: int, seed: int = 0) -> Curve:
    """Train by "onepass", "array" or "torch fused", and measure the test part after each epoch."""
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


def _assert_alike(data: Dataset, batch: int, trainers: dict[str, Trainer]) -> None:
    """Raise unless a few batches give the same loss and the same weights as array expressions.

    Adam's first steps are nearly lr * sign(gradient), so that rounding turns those weights whose
    gradient is about 0: a few may be off by two steps a batch, but not most.
    """
    rows = min(len(data.x_train), (_BATCHES - 1) * batch + max(2, batch // 2))
    pair = data.x_train[:rows], data.y_train[:rows]
    reference = trainer("array", data, batch)
    expected = reference.train(pair).loss
    weights = reference.weights()
    for path, made in trainers.items():
        np.testing.assert_allclose(made.train(pair).loss, expected, rtol=1e-4, err_msg=path)
        for name, found in made.weights().items():
            told = f"{name} by {path!r}"
            if "running" in name:
                np.testing.assert_allclose(found, weights[name], rtol=1e-3, atol=1e-3, err_msg=told)
                continue
            error = np.abs(found - weights[name])
            assert error.max() <= 2.1 * LR * _BATCHES, f"{told}: off by {error.max():.3g}"
            assert error.mean() <= 1e-3 * LR, f"{told}: off by {error.mean():.3g} on average"
        made.reset()
