"""What `onepass train --data FILE.csv --target COLUMN` does."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from ...backend import get_backend, why_device
from ..data.batches import batch_size_for
from ..data.cells import Missing
from ..data.normalizer import Normalizer
from ..data.split import split
from ..data.table import Table, read_table
from ..losses.binary_cross_entropy import BinaryCrossEntropy
from ..losses.loss import Loss
from ..losses.softmax_cross_entropy import SoftmaxCrossEntropy
from ..losses.squared_error import MeanSquaredError
from ..network.multilayer import multilayer
from ..optimizers.by_name import optimizer_by_name, optimizer_type
from ..optimizers.schedules.by_name import highest, schedule_by_name
from ..parallel.communicator import Comm
from ..parallel.local_device import local_device, shared_among
from ..saving.atomic_write import target_of
from ..training.fit import fit
from ..training.history import History
from ..types import Device, HostArray
from .table_model import TableModel

EPOCHS = 100


def train_table(
    data: str | PathLike[str],
    target: str,
    *,
    task: str = "auto",
    delimiter: str = ",",
    missing: str | Sequence[str] | None = None,
    hidden: Sequence[int] = (64, 32),
    batch_norm: bool = False,
    keep_prob: float = 1.0,
    optimizer: str = "adam",
    lr: float | None = None,
    schedule: str | None = None,
    warmup: int | None = None,
    clip_norm: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    device: Device = "auto",
    save: str | PathLike[str] | None = None,
    progress: bool = True,
    comm: Comm = None,
) -> float:
    """Train on a CSV file, print how well it does on the rows held out; accuracy or R2 on them.

    Features, and the target of a regression, are normalized as learnt from the training rows, in
    float64; the network takes what comes of it in float32.

    Args:
        data, target, task, delimiter, missing: as `read_table` takes them.
        hidden, batch_norm, keep_prob: of the network, as `multilayer` takes them.
        optimizer, lr: by name, and its learning rate; None: its own.
        schedule, warmup: as `schedule_by_name` takes them; None: lr all the time.
        clip_norm: the largest norm of all gradients together; None: any.
        epochs, batch_size: 100 and `batch_size_for` if None.
        test_fraction: share of the rows that is held out, of every class the same.
        seed: of the split, the first weights and the shuffling.
        save: the file that the trained model is written to.
        comm: ranks that train together, as `fit` takes them, on a GPU each where `device` is "auto"
            or "cuda"; rank 0 saves.

    Raises:
        FileNotFoundError, OSError: a file is not there, or can't be written.
        ValueError, TypeError: the file, a name or a number is not as expected; the message says
            what is.
        KeyboardInterrupt: after Ctrl-C, when the result so far was printed and saved.
    """
    optimizer_type(optimizer)  # refuses what is none
    backend = get_backend(device if comm is None else local_device(comm, device))
    first = comm is None or comm.rank == 0
    if save is not None and first:
        target_of(save)  # refuses before hours of training, not after
    table = read_table(data, target, task, delimiter, missing)
    rows, held_out = _split(table, test_fraction, seed)
    model = TableModel(
        multilayer(
            len(table.features),
            hidden,
            len(table.classes) if len(table.classes) > 2 else 1,
            batch_norm=batch_norm,
            keep_prob=keep_prob,
            seed=seed,
            device=backend,
        ),
        table.features,
        table.target,
        table.classes,
        Normalizer().fit(rows[0]),
        None if table.classes else Normalizer().fit(rows[1][:, None]),
        Missing(missing).texts,
    )
    made = optimizer_by_name(optimizer, model.net.parameters(), lr, clip_norm=clip_norm)
    epochs = EPOCHS if epochs is None else epochs
    size = batch_size_for(len(rows[0]), "auto" if batch_size is None else batch_size, batch_norm)
    rates = schedule_by_name(schedule, made.lr, len(rows[0]), size, epochs, warmup)
    reason = why_device(backend) if device == "auto" else f"{backend.device}, as asked"
    print(f"device: {reason}{shared_among(comm)}.")
    print(
        f"{table.name}: {len(rows[0])} samples to train on, {len(held_out[0])} held out; "
        f"{len(table.features)} features, {target!r}: "
        f"{f'{len(table.classes)} classes' if table.classes else 'a number'}; "
        f"{type(made).__name__}, lr {made.lr:g}{highest(schedule, warmup)}, {epochs} epochs of "
        f"batches of {size}, seed {seed}"
    )
    history = fit(
        model.net,
        _normalized(model, *rows),
        loss=_loss(table),
        optimizer=made,
        schedule=rates,
        epochs=epochs,
        batch_size=size,
        validation=_normalized(model, *held_out),
        seed=seed,
        progress=progress,
        comm=comm,
    )
    score = _report(model, held_out[0], held_out[1], history)
    if save is not None and first:
        model.save(save)
        print(f"saved; now: onepass predict {save} FILE.csv")
    if history.stopped == "interrupted":
        raise KeyboardInterrupt
    return score


def _split(table: Table, fraction: float, seed: int) -> list[Any]:
    try:
        parts = (1 - fraction, fraction)
        return split(table.x, table.y, parts, stratify=bool(table.classes), seed=seed)
    except ValueError as error:
        raise ValueError(
            f"test_fraction is {fraction}; expected a number in (0, 1) that leaves rows of "
            f"{len(table.x)} on both sides"
        ) from error


def _loss(table: Table) -> Loss:
    if not table.classes:
        return MeanSquaredError()
    return BinaryCrossEntropy() if len(table.classes) == 2 else SoftmaxCrossEntropy()


def _normalized(model: TableModel, x: HostArray, y: HostArray) -> tuple[HostArray, HostArray]:
    if model.target_normalizer is not None:
        y = model.target_normalizer.apply(y[:, None])
    return model.normalizer.apply(x), y


def _report(model: TableModel, x: HostArray, y: HostArray, history: History) -> float:
    """Print how well the model does on rows held out; the accuracy, or R2."""
    seconds = f"after {history.epochs} epochs, {sum(history.seconds):.1f} s"
    if history.stopped:
        seconds += f" ({history.stopped})"
    if model.classes:
        right = float(np.mean(model.labels(x) == y))
        most = float(np.bincount(y).max() / len(y))
        print(f"test accuracy {right:.2%} {seconds}; the most frequent class is {most:.2%}")
        return right
    errors = model.numbers(x) - y
    spread = float(np.sum((y - y.mean()) ** 2))
    r2 = 1 - float(np.sum(errors**2)) / spread if spread else float("nan")
    print(f"test R2 {r2:.4f}, mean absolute error {np.abs(errors).mean():.4g} {seconds}")
    return r2
