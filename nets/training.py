"""The training loop."""

from __future__ import annotations

from math import ceil, isfinite
from time import perf_counter
from typing import Any

import numpy as np

from ..backend.checks import count
from .data import minibatches
from .history import History
from .losses import Loss
from .optimizer import Optimizer
from .prediction import evaluate, rows_of
from .progress import Progress, RichProgress
from .sequential import Sequential
from .types import Array

Pair = tuple[Array, Array]


def fit(
    net: Sequential,
    data: Pair,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int = 10,
    batch_size: int = 128,
    validation: Pair | None = None,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train `net` in place by mini-batch gradient descent, and return what was seen.

    Each epoch shuffles the samples anew and uses every one once, the last, smaller batch too. Data
    is brought to the network's device once, before the first epoch; on a GPU, loss and accuracy
    add up there and are read once an epoch, so that no launch is waited for in between.

    Args:
        net: the network; its parameters and gradients are written.
        data: (x, y): rows of shape (n, in_features) and labels of shape (n,), on any device.
        loss: such as SoftmaxCrossEntropy().
        optimizer: made from `net.parameters()`; its states are written.
        epochs: passes over the data, at least 1.
        batch_size: samples an update, at least 1.
        validation: (x, y) like `data`, held out: measured after every epoch, never trained on.
        seed: of the shuffling.
        progress: show a bar (needs rich); False prints nothing.

    Raises:
        ValueError: no samples, x and y differ in number, x is not finite, another width, labels
            out of range, an optimizer of other arrays, a count smaller than 1, or a batch too small
            for a layer (BatchNorm takes two samples); before anything is written.
        TypeError: the labels or a count are not integers; before anything is written.
        FloatingPointError: the loss of an epoch is not finite; the message names the epoch.
    """
    if optimizer.params is not net.parameters():
        name = type(optimizer).__name__
        raise ValueError(f"optimizer updates other arrays; expected {name}(net.parameters())")
    epochs, batch_size = count("epochs", epochs), count("batch_size", batch_size)
    x, y = _prepared(net, data, loss, "data")
    _check_last_batch(net, len(x), batch_size)
    held_out = None if validation is None else _prepared(net, validation, loss, "validation")
    rng = np.random.default_rng(seed)
    history = History()
    bar = RichProgress(epochs, ceil(len(x) / batch_size)) if progress else Progress()
    with bar, net.backend.scope(), np.errstate(over="ignore", invalid="ignore"):
        for epoch in range(1, epochs + 1):
            start = perf_counter()
            total: Array = 0.0
            hits: Array = 0
            for batch in minibatches(len(x), batch_size, rng, net.backend):
                rows, labels = x.take(batch, axis=0), y.take(batch)
                mean, right = train_batch(net, rows, labels, loss, optimizer)
                total = total + mean * len(batch)
                hits = hits + right
                bar.batch()
            seen = float(total) / len(x)  # the one line that waits for the device
            if not isfinite(seen):
                raise _diverged("loss", seen, epoch, optimizer)
            history.loss.append(seen)
            history.accuracy.append(int(hits) / len(x))
            history.seconds.append(perf_counter() - start)
            if held_out is not None:
                seen, share = evaluate(net, *held_out, loss)
                if not isfinite(seen):
                    raise _diverged("validation loss", seen, epoch, optimizer)
                history.val_loss.append(seen)
                history.val_accuracy.append(share)
            bar.epoch(history, len(x))
    return history


def train_batch(
    net: Sequential, x: Array, y: Array, loss: Loss, optimizer: Optimizer
) -> tuple[Array, Array]:
    """One update; returns (mean loss, right answers) before it, both 0-d on the net's device."""
    output = net.forward(x, train=True)
    mean, gradient = loss(output, y)
    net.backward(gradient, input_grad=False)
    optimizer.step()
    return mean, (output.argmax(axis=1) == y).sum()


def _prepared(net: Sequential, data: Pair, loss: Loss, name: str) -> Pair:
    """(x, y), checked, on the network's device."""
    x = rows_of(net, data[0], f"x of {name}")
    y = data[1] if hasattr(data[1], "dtype") else np.asarray(data[1])
    if not len(x):
        raise ValueError(f"x of {name} has no rows; expected at least one sample")
    if y.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"y of {name} has shape {y.shape}; expected ({len(x)},), a label for each row of x"
        )
    if not _finite(x, net.backend.xp):
        raise ValueError(
            f"x of {name} holds values that are not finite; expected numbers only. Find them with "
            "numpy.isfinite"
        )
    loss.check(y, len(x), x.shape[1] if net.out_features is None else net.out_features)
    return x, net.backend.asarray(y)


def _finite(x: Array, xp: Any) -> bool:
    """Whether every value is finite. A sum tells so in one pass, unless it overflows itself."""
    with np.errstate(all="ignore"):
        return isfinite(float(x.sum())) or bool(xp.isfinite(x).all())


def _check_last_batch(net: Sequential, samples: int, batch_size: int) -> None:
    """Refuse batches that are too small for a layer, before any of them is trained on."""
    last = samples % batch_size or batch_size
    if min(last, samples) < net.least_rows:
        raise ValueError(
            f"batch_size is {batch_size}, which leaves a batch of {min(last, samples)} of the "
            f"{samples} samples, but {net!r} takes {net.least_rows} or more to train on; expected "
            "another batch_size, or a sample less"
        )


def _diverged(what: str, value: float, epoch: int, optimizer: Optimizer) -> FloatingPointError:
    """The error for a loss that is not finite, though the data is."""
    return FloatingPointError(
        f"the {what} is {value} in epoch {epoch}; try a lower lr (it is {optimizer.lr}) or "
        "clip_norm=1.0"
    )
