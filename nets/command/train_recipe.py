"""What `onepass train` does with digits and MNIST: a recipe, and a report in words."""

from __future__ import annotations

from dataclasses import replace

from ...backend import get_backend, why_device
from ..data.dataset import Dataset
from ..data.digits import load_digits
from ..data.mnist import load_mnist
from ..network.prediction import accuracy
from ..optimizers.by_name import optimizer_type
from ..optimizers.schedules.by_name import highest, schedule_by_name
from ..parallel.communicator import Comm
from ..parallel.local_device import local_device, shared_among
from ..types import Device
from .recipes import Recipe, digits_recipe, mnist_recipe


def train_by_name(
    data: str = "digits",
    device: Device = "auto",
    optimizer: str = "adam",
    lr: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    batch_norm: bool = True,
    progress: bool = True,
    clip_norm: float | None = None,
    schedule: str | None = None,
    warmup: int | None = None,
    comm: Comm = None,
) -> float:
    """Train a recipe's network, print what was done and how well it does; the test accuracy.

    Args:
        data: "digits" or "mnist:FOLDER".
        device: "auto", "cpu", "cuda", "cuda:N".
        optimizer: "sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "amsgrad", "nadam",
            "radam", "adamax", "adadelta" or "lion"; the recipe's learning rates belong to Adam,
            others keep theirs all the time.
        lr: learning rate, kept all the time; None: the recipe's, or the optimizer's own default.
        epochs, batch_size: the recipe's if None.
        seed: of the split, the initial weights and the shuffling.
        batch_norm: normalize the hidden layers, as the recipes have it.
        progress: show a bar.
        clip_norm: the largest norm of all gradients together; None: any.
        schedule, warmup: as `schedule_by_name` takes them; None: the recipe's own rates.
        comm: ranks that train together, as `fit` takes them, on a GPU each where `device` is "auto"
            or "cuda".

    Raises:
        ValueError: an unknown name, or a number out of its range.
        DeviceUnavailableError, OSError, ImportError: the device, the files or scikit-learn are
            not there; the message says what to do.
        KeyboardInterrupt: after Ctrl-C, and after printing how well the network does so far.
    """
    kind = optimizer_type(optimizer)
    backend = get_backend(device if comm is None else local_device(comm, device))
    dataset, recipe = _load(data, seed, backend, batch_norm)
    if optimizer != "adam" or lr is not None:
        hyper = {} if lr is None else {"lr": lr}
        chosen = kind(recipe.net.parameters(), **hyper)
        recipe = replace(recipe, optimizer=chosen, schedule=None)
    recipe.optimizer.clip_norm = clip_norm
    recipe = replace(
        recipe,
        epochs=recipe.epochs if epochs is None else epochs,
        batch_size=recipe.batch_size if batch_size is None else batch_size,
    )
    by_name = schedule_by_name(
        schedule,
        recipe.optimizer.lr,
        len(dataset.x_train),
        recipe.batch_size,
        recipe.epochs,
        warmup,
    )
    if by_name is not None:
        recipe = replace(recipe, schedule=by_name)
    rates = highest(schedule, warmup) or ("" if recipe.schedule is None else " at first")
    reason = why_device(backend) if device == "auto" else f"{backend.device}, as asked"
    print(f"device: {reason}{shared_among(comm)}.")
    print(
        f"{dataset.name}: {len(dataset.x_train)} samples to train on, {len(dataset.x_test)} held "
        f"out; {type(recipe.optimizer).__name__}, lr {recipe.optimizer.lr:g}"
        f"{rates}, {recipe.epochs} "
        f"epochs of batches of {recipe.batch_size}, seed {seed}{', batch norm' * batch_norm}"
    )
    history = recipe.train(dataset, progress=progress, comm=comm)
    if history.stopped == "interrupted":
        share = accuracy(recipe.net, dataset.x_test, dataset.y_test)
        done = f"{history.epochs} of {recipe.epochs} epochs"
        print(f"interrupted after {done}; test accuracy {share:.2%} so far")
        raise KeyboardInterrupt
    share = history.val_accuracy[-1]
    print(
        f"test accuracy {share:.2%} after {sum(history.seconds):.1f} s "
        f"({1e3 * sum(history.seconds) / history.epochs:.0f} ms an epoch)"
    )
    return share


def _load(data: str, seed: int, device: Device, batch_norm: bool) -> tuple[Dataset, Recipe]:
    kind, _, folder = data.partition(":")
    if data == "digits":
        return load_digits(seed=seed), digits_recipe(seed, device, batch_norm)
    if kind == "mnist" and folder:
        return load_mnist(folder), mnist_recipe(seed, device, batch_norm)
    raise ValueError(
        f"data is {data!r}; expected 'digits' or 'mnist:FOLDER', or a CSV file with --target COLUMN"
    )
