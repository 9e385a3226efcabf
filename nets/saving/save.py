"""Writing a network, and all that training it goes on from, to one file."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any

from ..network.sequential import Sequential
from ..optimizers.by_name import OPTIMIZERS
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.schedules.by_name import SCHEDULES
from ..optimizers.schedules.schedule import Chain, Schedule
from ..parallel.agreement import Agreement
from ..parallel.shared_storage import SharedStorage
from ..training.history import History
from ..training.run import LrSchedule, Run
from ..types import HostArray
from .atomic_write import target_of
from .encoded import parts
from .network_json import network_config
from .plain_json import plain
from .safetensors_file import write_file


def save(
    path: str | PathLike[str],
    net: Sequential,
    optimizer: Optimizer | None = None,
    run: Run | None = None,
    *,
    schedule: LrSchedule | None = None,
    **metadata: Any,
) -> None:
    """Write a network to one safetensors file, replacing what is there as a whole or not at all.

    The file holds parameters and running statistics, under their names in the network, and as
    JSON the layers with their arguments, the random state of layers that draw, and `metadata`.
    `load` makes the network anew from it, on any device, without this program's code. Nothing in
    it is ever executed: no pickle.

    Args:
        path: the file's name, such as "model.safetensors"; its folder must be there.
        net: the network; left untouched, as everything is.
        optimizer: made from `net.parameters()`: its states, steps, hyperparameters and engine are
            saved.
        run: as a callback sees it in on_epoch: its optimizer, schedule, history, random state,
            epoch and step are saved, to go on from bit for bit by `fit(..., resume=)`. In on_batch
            it has trained on a part of an epoch, which nothing goes on from.
        schedule: of the learning rate, where there is no run that has it.
        **metadata: whatever is to be kept with it, by name: numbers, strings, lists, mappings, such
            as classes=["cat", "dog"].

    Of several ranks that train together all call it with `run`, and with an optimizer whose states
    they share; rank 0 writes the file, the others wait. The file is as that of a single one, and is
    loaded on any number of ranks.

    A process killed while it saves, or a disk that is full, leaves the file that was there before.
    The schedule of a run may be a function, which is not saved: `load` tells so where it is asked
    for. A layer or optimizer of your own is saved under the name of its class; see `LAYERS` and
    `OPTIMIZERS`.

    Raises:
        TypeError: something is not of the type named above; a layer keeps no attribute for an
            argument; metadata is not JSON's, the key is named; a schedule is a function.
        ValueError: the optimizer has other parameters; the run has another network, optimizer or
            schedule; metadata is not finite or too large.
        FileNotFoundError, IsADirectoryError: the folder is not there, or `path` names one.
        OSError: the file can't be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from onepass.nets import Dense, Sequential, load, save
        >>> net = Sequential(Dense(4, 2))
        >>> with TemporaryDirectory() as folder:
        ...     save(f"{folder}/model.safetensors", net, classes=["cat", "dog"])
        ...     load(f"{folder}/model.safetensors").metadata
        {'classes': ['cat', 'dog']}
    """
    optimizer, schedule = parts_of(net, optimizer, run, schedule)
    ranks = _agreement_of(optimizer, run)

    def checked() -> tuple[Path | None, dict[str, Any]]:
        target = target_of(path) if ranks is None or ranks.communicator.rank == 0 else None
        return target, contents(net, optimizer, run, schedule, metadata)

    if ranks is None:
        target, content = checked()
        tensors = _tensors(net, optimizer)
    else:
        with ranks.together("save"):
            target, content = checked()
        with ranks.closed():
            tensors = _tensors(net, optimizer, target is not None)
    with nullcontext() if ranks is None else ranks.together("the end of save"):
        if target is not None:
            write_file(target, tensors, content)


def _agreement_of(optimizer: Optimizer | None, run: Run | None) -> Agreement | None:
    """That of ranks which all call `save`: those of a run, or each with a part of the states."""
    if run is not None:
        return None if run.ranks is None or not run.ranks.open else run.ranks.agreement
    storage = None if optimizer is None else optimizer.storage
    return storage.agreement if isinstance(storage, SharedStorage) and storage.sharded else None


def parts_of(
    net: Sequential,
    optimizer: Optimizer | None,
    run: Run | None,
    schedule: LrSchedule | None,
) -> tuple[Optimizer | None, LrSchedule | None]:
    """The optimizer and the schedule to save; refuses what does not belong together."""
    if not isinstance(net, Sequential):
        raise TypeError(f"net is a {type(net).__name__}; expected a Sequential")
    if run is not None:
        if not isinstance(run, Run):
            raise TypeError(f"run is a {type(run).__name__}; expected the Run that callbacks see")
        if run.net is not net:
            raise ValueError("run trains another network; expected net to be run.net")
        for name, given, own in (
            ("optimizer", optimizer, run.optimizer),
            ("schedule", schedule, run.schedule),
        ):
            if given is not None and given is not own:
                raise ValueError(f"{name} is {given!r}, but the run has {own!r}; leave it out")
        optimizer, schedule = run.optimizer, run.schedule
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer is a {type(optimizer).__name__}; expected one such as Adam")
    if optimizer is not None and optimizer.params is not net.parameters():
        name = type(optimizer).__name__
        raise ValueError(f"optimizer updates other arrays; expected {name}(net.parameters())")
    return optimizer, schedule


def contents(
    net: Sequential,
    optimizer: Optimizer | None,
    run: Run | None,
    schedule: LrSchedule | None,
    metadata: dict[str, Any],
) -> dict[str, Any]:
    """Everything but the arrays, as JSON has it; raises where something can't be saved."""
    config = None
    if schedule is not None:
        config = schedule_config(schedule) if run is None else _run_schedule_config(schedule)
    return {
        "network": network_config(net),
        "optimizer": None if optimizer is None else _optimizer_config(optimizer),
        "schedule": config,
        "run": None if run is None else _run_config(run),
        "metadata": plain(metadata, "metadata"),
    }


def _optimizer_config(optimizer: Optimizer) -> dict[str, Any]:
    name = type(optimizer).__name__
    if OPTIMIZERS.get(name) is not type(optimizer):
        raise ValueError(
            f"optimizer is {optimizer!r}, of a class that load would not know; expected one of "
            f"{', '.join(OPTIMIZERS)}. Say onepass.nets.OPTIMIZERS[{name!r}] = {name} first"
        )
    hyper = {**optimizer.hyper, **optimizer.options}
    return {
        "type": name,
        "step": optimizer.steps,
        "hyper": plain(hyper, "hyperparameters"),
        "engine": optimizer.engine,
        **plain(optimizer.arrangement(), "groups"),
        **({"formats": plain(optimizer.formats, "formats")} if optimizer.formats else {}),
    }


def schedule_config(schedule: LrSchedule) -> dict[str, Any]:
    """What `schedule_from` makes it from; TypeError where it holds a function, or is one."""
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule is {schedule!r}, which can't be saved; expected a Schedule such as "
            "ExponentialDecay(0.1). Leave it out and hand it to fit again"
        )
    config = schedule.config()
    if SCHEDULES.get(config["type"]) is not type(schedule):
        raise TypeError(
            f"schedule is {schedule!r}, of a class that load would not know; expected one of "
            f"{', '.join(SCHEDULES)}. Say onepass.nets.SCHEDULES[{config['type']!r}] = "
            f"{config['type']} first"
        )
    for part in schedule.schedules if isinstance(schedule, Chain) else ():
        schedule_config(part)
    return dict(plain(config, "schedule"))


def _run_schedule_config(schedule: LrSchedule) -> dict[str, Any]:
    try:
        return schedule_config(schedule)
    except TypeError:  # a training that runs must not end for it
        return {"not_saved": repr(schedule)}


def _run_config(run: Run) -> dict[str, Any]:
    return {
        "epoch": run.epoch,
        "step": run.step,
        "history": history_config(run.history),
        "rng_state": plain(run.rng_state, "the state of rng"),
        **({} if run.loss_scale is None else {"loss_scale": run.loss_scale}),
    }


def history_config(history: History) -> dict[str, Any]:
    """Its fields; a figure that is not finite as "nan", "inf" or "-inf"."""
    return {
        name: [value if isfinite(value) else str(value) for value in map(float, values)]
        if isinstance(values, list)
        else values
        for name, values in asdict(history).items()
    }


def _tensors(
    net: Sequential, optimizer: Optimizer | None, written: bool = True
) -> dict[str, HostArray]:
    """Parameters and buffers by name, and "optimizer.m.0.weight" for what Adam's m has of it."""
    tensors = net.state_dict() if written else {}
    states = {} if optimizer is None else optimizer.copies(written)
    for state, arrays in states.items():
        for name, array in arrays.items():
            tensors |= parts(f"optimizer.{state}.{name}", array)
    return tensors
