"""What is asserted of trainers before they are timed: the same network, and what it learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ....nets import Dataset
from ...cases.trainer import LR, Trainer
from ...peers.trainers import OTHER

POINTS = 0.3
"""By which accuracies on the held-out part may differ after an epoch, or else one sample."""

_BATCHES = 4
"""Batches after which the paths are compared, weight by weight."""

_LEARNING = 100
"""Batches after which the loss of another network must have fallen, at least."""


def assert_alike(
    data: Dataset, batch: int, trainers: Mapping[str, Trainer], reference: Callable[[], Trainer]
) -> None:
    """Raise unless a few batches give the same loss and the same weights as `reference`.

    Adam's first steps are nearly lr * sign(gradient), so that rounding turns those weights whose
    gradient is about 0: a few may be off by two steps a batch, but not most.
    """
    rows = min(len(data.x_train), (_BATCHES - 1) * batch + max(2, batch // 2))
    pair = data.x_train[:rows], data.y_train[:rows]
    first = reference()
    expected = first.train(pair).loss
    weights = first.weights()
    for path, made in trainers.items():
        if path == OTHER:
            continue
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


def assert_accurate(
    data: Dataset, batch: int, trainers: Mapping[str, Trainer], reference: Callable[[], Trainer]
) -> None:
    """Raise unless an epoch gives the accuracy of `reference` on the held-out part, or nearly.

    Of another network only that its loss falls.
    """
    pair, held_out = (data.x_train, data.y_train), (data.x_test, data.y_test)
    expected = reference().train(pair, validation=held_out).val_accuracy[-1]
    allowed = max(POINTS / 100, 1 / len(data.x_test)) + 1e-9
    for path, made in trainers.items():
        if path == OTHER:
            losses = made.train(pair, 1 + -(-_LEARNING * batch // len(data.x_train))).loss
            made.reset()
            assert losses[-1] < losses[0], f"{path!r} learns nothing: its losses are {losses}"
            continue
        found = made.train(pair, validation=held_out).val_accuracy[-1]
        made.reset()
        told = f"accuracy by {path!r}: {found:.2%} instead of {expected:.2%}"
        assert abs(found - expected) <= allowed, told
