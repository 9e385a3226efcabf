"""Networks as JSON has them: types of layers, constructor arguments, random states."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from ..layers.activations import (
    ELU,
    GELU,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from ..layers.batch_norm import BatchNorm
from ..layers.dense import Dense
from ..layers.dropout import Dropout
from ..layers.group_norm import GroupNorm
from ..layers.layer import Layer
from ..layers.layer_norm import LayerNorm
from ..layers.rms_norm import RMSNorm
from ..network.sequential import Sequential
from ..state_checks import check_keys
from ..types import DTYPES, Device
from .plain_json import plain

LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        ELU,
        GELU,
        BatchNorm,
        Dense,
        Dropout,
        GroupNorm,
        LayerNorm,
        LeakyReLU,
        Linear,
        RMSNorm,
        ReLU,
        SiLU,
        Sigmoid,
        Softmax,
        Softplus,
        Tanh,
    )
}
"""The layers that `load` knows by name. For one of your own: LAYERS["Mine"] = Mine."""


def network_config(net: Sequential) -> dict[str, Any]:
    """What `network_from` makes a network like `net` from, but for its arrays.

    Raises:
        TypeError, ValueError: a layer can't be told by name and arguments.
    """
    return {
        "dtype": net.dtype.name,
        "layers": [_layer_config(k, layer) for k, layer in enumerate(net.layers)],
        "random_state": plain(net.random_state(), "random state"),
    }


def _layer_config(k: int, layer: Layer) -> dict[str, Any]:
    name = type(layer).__name__
    if LAYERS.get(name, type(layer)) is not type(layer):
        raise ValueError(
            f"layer {k} {layer!r} has the name of another class in LAYERS; expected one of its own"
        )
    return {"type": name, "arguments": plain(layer.config(), f"arguments of layer {k} {layer!r}")}


def network_from(config: Any, device: Device) -> Sequential:
    """A network as `network_config` told, which starts anew: with first values and first draws.

    Raises:
        TypeError, ValueError: something in it is unknown, missing or out of its range.
    """
    found = _checked(config)
    layers = [_layer_from(k, each) for k, each in enumerate(found["layers"])]
    return Sequential(*layers, dtype=found["dtype"], device=device)


def check_alike(net: Sequential, config: Any) -> None:
    """Refuse where `net` has other layers than those told, or another dtype.

    Raises:
        TypeError, ValueError: the first difference is told.
    """
    found, own = _checked(config), network_config(net)
    if found["dtype"] != own["dtype"]:
        raise ValueError(f"net is of {own['dtype']}; expected {found['dtype']}, as the file has")
    if len(net.layers) != len(found["layers"]):
        raise ValueError(
            f"net has {len(net.layers)} layers; expected {len(found['layers'])}, as the file has"
        )
    for k, (mine, other) in enumerate(zip(own["layers"], found["layers"], strict=True)):
        if mine != other:
            raise ValueError(f"layer {k} of net is {_shown(mine)}; the file has {_shown(other)}")


def _checked(config: Any) -> Mapping[str, Any]:
    found = check_keys(config, ("dtype", "layers", "random_state"), "network")
    if found["dtype"] not in DTYPES:
        raise ValueError(f"dtype is {found['dtype']!r}; expected {', '.join(DTYPES)}")
    if not isinstance(found["layers"], list):
        raise TypeError(f"layers is {found['layers']!r}; expected a list")
    for k, layer in enumerate(found["layers"]):
        check_keys(layer, ("type", "arguments"), f"layer {k}")
        if not isinstance(layer["type"], str) or not isinstance(layer["arguments"], dict):
            raise TypeError(f"layer {k} is {layer!r}; expected a name and a mapping")
    return found


def _layer_from(k: int, config: Mapping[str, Any]) -> Layer:
    name, arguments = config["type"], config["arguments"]
    if name not in LAYERS:
        raise ValueError(
            f"layer {k} is {_shown(config)}, of a type that is not known here; expected one of "
            f"{', '.join(LAYERS)}. Say onepass.nets.LAYERS[{name!r}] = {name} first, or load into "
            "a network of the same layers, with net="
        )
    takes = signature(LAYERS[name])
    try:
        takes.bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"layer {k} is {_shown(config)} ({error}); expected {name}{takes}"
        ) from error
    return LAYERS[name](**arguments)


def _shown(config: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{name}={value!r}" for name, value in config["arguments"].items())
    return f"{config['type']}({inside})"
