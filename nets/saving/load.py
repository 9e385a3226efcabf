"""Reading a network, and all that training it goes on from, from a file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from sys import maxsize
from typing import Any

import numpy as np

from ...backend import EngineUnavailableError, get_backend
from ..network.sequential import Sequential
from ..optimizers.by_name import OPTIMIZERS
from ..optimizers.frame.encoding import DEFAULTS as FORMATS
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.frame.tuned import ARRANGEMENT
from ..optimizers.schedules.by_name import schedule_from
from ..optimizers.schedules.schedule import Schedule
from ..paths import expanded
from ..state_checks import check_keys
from ..training.history import History
from ..training.loss_scaler import LossScaler
from ..types import Device, HostArray
from .encoded import names, whole
from .network_json import check_alike, network_from
from .safetensors_file import read_file
from .saved import Saved


def load(
    path: str | PathLike[str], device: Device = "auto", net: Sequential | None = None
) -> Saved:
    """Read what `save` or a `Checkpoint` has written: all of it, or nothing.

    A run goes on from it bit for bit where the same engines run: the optimizer has the engine it
    was saved with where that can be had, else "auto". On another device or engine the sums are
    taken in another order, and rounding differs.

    Args:
        path: the file.
        device: where the network is to live, wherever it was saved: "auto", "cpu", "cuda",
            "cuda:N" or a Backend.
        net: a network of the same layers and dtype, to be written instead of a new one, and to
            stay where it lives. For layers of your own that are not in `LAYERS`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged, of another program or of a newer format; it holds a
            layer or an optimizer that is not known; arrays are missing, too many, or of another
            shape or dtype than the layers have; or `net` is another network. `net` is unchanged.
        TypeError: `net` is no Sequential.
        DeviceUnavailableError: the named device can't be used.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from onepass.nets import Dense, ReLU, Sequential, load, save
        >>> net = Sequential(Dense(4, 8), ReLU(), Dense(8, 2))
        >>> with TemporaryDirectory() as folder:
        ...     save(f"{folder}/model.safetensors", net)
        ...     saved = load(f"{folder}/model.safetensors", device="cpu")
        >>> saved.net
        Sequential(Dense(4, 8), ReLU(), Dense(8, 2))
        >>> saved.net(np.ones((1, 4))).shape
        (1, 2)
    """
    file = expanded(path)
    if net is None:
        backend = get_backend(device)
    elif not isinstance(net, Sequential):
        raise TypeError(f"net is a {type(net).__name__}; expected a Sequential")
    elif device != "auto":
        raise ValueError(f"device is {device!r} beside net=, which stays where it is; leave it out")
    tensors, content = read_file(file)
    try:
        parts = ("network", "optimizer", "schedule", "run", "metadata")
        check_keys(content, parts, "the JSON")
        if net is None:
            net = network_from(content["network"], backend)
        else:
            check_alike(net, content["network"])
        return _restored(net, tensors, content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} can't be loaded: {error}") from error


def _restored(net: Sequential, tensors: dict[str, HostArray], content: Mapping[str, Any]) -> Saved:
    """Everything made and checked first, then written to `net`."""
    own = [*net.parameters(), *net.buffers()]
    config = content["optimizer"]
    kind = None if config is None else _optimizer_kind(config)
    hyper = {} if kind is None else _hyper_of_states(config)
    states = {
        state: {name: f"optimizer.{state}.{name}" for name in net.parameters()}
        for state in (kind.states_with(hyper, hyper) if kind else ())
    }
    formats = {} if kind is None else dict(_mapping(config.get("formats", {})))
    theirs = [
        each for keys in states.values() for key in keys.values() for each in names(key, tensors)
    ]
    check_keys(tensors, [*own, *theirs], "it")
    optimizer = None
    if kind is not None:
        arranged = {name: config[name] for name in ARRANGEMENT if name in config}
        optimizer = kind(net.parameters(), **_arranged(arranged), **_known(formats))
        block_size = formats.get("block_size", FORMATS["block_size"])
        loaded = {
            state: {name: whole(key, state, tensors, block_size) for name, key in keys.items()}
            for state, keys in states.items()
        }
        optimizer.load_state_dict(
            {
                "optimizer": kind.__name__,
                "step": config["step"],
                "hyper": config["hyper"],
                "state": loaded,
                **arranged,
            }
        )
        with suppress(EngineUnavailableError):
            optimizer.engine = config["engine"]
    saved = Saved(
        net=net,
        optimizer=optimizer,
        metadata=dict(check_keys(content["metadata"], content["metadata"], "metadata")),
        _schedule=_schedule(content["schedule"]),
        **_run(content["run"]),
    )
    before = net.random_state()
    net.load_random_state(content["network"]["random_state"])
    try:
        net.load_state_dict({name: tensors[name] for name in own})
    except Exception:
        net.load_random_state(before)
        raise
    return saved


def _mapping(value: Any) -> Mapping[str, Any]:
    """Anything that is none is told later, by what takes it."""
    return value if isinstance(value, Mapping) else {}


def _optimizer_kind(config: Any) -> type[Optimizer]:
    also = [*ARRANGEMENT, "formats"]
    also = [name for name in also if isinstance(config, Mapping) and name in config]
    name = check_keys(config, ("type", "step", "hyper", "engine", *also), "optimizer")["type"]
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise ValueError(
            f"its optimizer is {name!r}, which is not known here; expected one of "
            f"{', '.join(OPTIMIZERS)}. Say onepass.nets.OPTIMIZERS[{name!r}] = {name} first"
        )
    return OPTIMIZERS[name]


def _hyper_of_states(config: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters that tell which states there are: the first group's, as of all."""
    found = dict(_mapping(config["hyper"]))
    groups = config.get("groups")
    if isinstance(groups, list) and groups and isinstance(groups[0], Mapping):
        found |= _mapping(groups[0].get("hyper", {}))
    return found


def _arranged(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimizer is made with to have such groups; their numbers come by its state."""
    given = dict(config)
    if "groups" in config:
        given["groups"] = [
            {"params": check_keys(each, each, "a group of its optimizer").get("params")}
            for each in config["groups"]
        ]
    return given


def _known(formats: dict[str, Any]) -> dict[str, Any]:
    """The formats of an optimizer's states, which it is made with."""
    return dict(check_keys(formats, FORMATS, "its optimizer's formats")) if formats else {}


def _schedule(config: Any) -> Schedule | str | None:
    if config is None:
        return None
    if isinstance(config, Mapping) and config.keys() == {"not_saved"}:
        return str(config["not_saved"])
    return schedule_from(config)


def _run(config: Any) -> dict[str, Any]:
    """The attributes of `Saved` that a run has."""
    if config is None:
        return {}
    also = ["loss_scale"] if isinstance(config, Mapping) and "loss_scale" in config else []
    run = check_keys(config, ("epoch", "step", "history", "rng_state", *also), "run")
    if also:
        LossScaler(growth_interval=maxsize).load_state_dict(run["loss_scale"])
    for name in ("epoch", "step"):
        if type(run[name]) is not int or run[name] < 0:
            raise ValueError(f"{name} is {run[name]!r}; expected an integer >= 0")
    rng = np.random.default_rng()
    try:
        rng.bit_generator.state = run["rng_state"]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"rng_state is no state of PCG64 ({error})") from error
    history = _history(run["history"])
    if history.epochs != run["epoch"]:
        raise ValueError(f"history is of {history.epochs} epochs; expected {run['epoch']}")
    return {
        "epoch": run["epoch"],
        "step": run["step"],
        "history": history,
        "loss_scale": run.get("loss_scale"),
        "_rng_state": run["rng_state"],
    }


def _history(config: Any) -> History:
    """The inverse of `history_config`."""
    if not isinstance(config, dict):
        raise TypeError(f"history is {config!r}; expected a mapping")
    fields: dict[str, Any] = {
        name: [float(value) for value in values] if isinstance(values, list) else values
        for name, values in config.items()
    }
    history = History(**fields)
    for name, value in vars(History()).items():
        if not isinstance(getattr(history, name), type(value)):
            raise TypeError(f"history has {name} = {getattr(history, name)!r}")
    return history
