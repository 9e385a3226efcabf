"""The network that most tables of numbers want: hidden layers of one kind, then a linear one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy.typing as npt

from ...backend.checks.numbers import count, flag
from ..layers.activations import (
    ELU,
    GELU,
    Activation,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from ..layers.batch_norm import BatchNorm
from ..layers.dense import Dense
from ..layers.dropout import Dropout
from ..layers.first_weights import EVENLY, deviation
from ..layers.layer import Layer
from ..types import Device
from .sequential import Sequential

KINDS: dict[str, Callable[[], Activation]] = {
    **{kind.kind: kind for kind in (ReLU, LeakyReLU, Sigmoid, Tanh, Linear, ELU, SiLU, Softplus)},
    "gelu": GELU,
    "gelu_tanh": partial(GELU, "tanh"),
}
RECTIFIERS = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu")
"""Those that let about half of the variance through: 0.36 of N(0, 1) by "silu" to 0.65 by "elu",
whereas "softplus" gives 0.92."""


def multilayer(
    n_in: int,
    hidden: int | Iterable[int],
    n_out: int,
    *,
    activation: str = "relu",
    batch_norm: bool = False,
    keep_prob: float = 1.0,
    init: str | None = None,
    seed: int = 0,
    dtype: npt.DTypeLike = "float32",
    device: Device = "auto",
) -> Sequential:
    """Hidden layers with an activation each, then a linear layer of `n_out` units.

    Args:
        n_in: features of a row.
        hidden: units of each hidden layer; a number for a single one, () for none: a linear or
            logistic regression, whose weights start at 0, since nothing is gained by chance there,
            whatever `init`.
        n_out: outputs of a row.
        activation: "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "gelu_tanh", "silu",
            "softplus" or "linear", with its default options.
        batch_norm: normalize before each activation, in layers without biases.
        keep_prob: of the dropout after each activation; 1 for none.
        init: how weights start, see `deviation`; with "glorot_uniform" biases do so too. None:
            before a rectifier (all but "sigmoid", "tanh", "softplus" and "linear") as He has it
            (variance 2 / n_in), all others with 1 / n_in.
        seed, dtype, device: as `Sequential` takes them.

    Raises:
        TypeError, ValueError: an argument is out of its range.
        DeviceUnavailableError: the named device can't be used.
    """
    if not isinstance(activation, str) or activation not in KINDS:
        raise ValueError(f"activation is {activation!r}; expected {', '.join(map(repr, KINDS))}")
    flag("batch_norm", batch_norm)
    dropout = Dropout(keep_prob).keep_prob < 1
    widths = [n_in, *layer_sizes(hidden)]
    inner = outer = "xavier" if init is None else init
    deviation(inner, 1, 1)  # refuses other names, whatever the layers
    if init is None and activation in RECTIFIERS:
        inner = "he"
    if len(widths) == 1:
        outer = "zeros"
    layers: list[Layer] = []
    for before, width in pairwise(widths):
        if not batch_norm:
            layers.append(_dense(before, width, inner, activation))
        elif activation == "relu":
            dense = Dense(before, width, bias=False, init=inner)
            layers += [dense, BatchNorm(width, activation="relu")]
        else:
            dense = Dense(before, width, bias=False, init=inner)
            layers += [dense, BatchNorm(width), KINDS[activation]()]
        if dropout:
            layers.append(Dropout(keep_prob))
    last = _dense(widths[-1], n_out, outer)
    return Sequential(*layers, last, seed=seed, dtype=dtype, device=device)


def _dense(n_in: int, n_out: int, init: str, activation: str | None = None) -> Dense:
    even = "glorot_uniform" if init in EVENLY else "zeros"
    return Dense(n_in, n_out, init=init, activation=activation, bias_init=even)


def layer_sizes(hidden: Any, name: str = "hidden") -> list[int]:
    """`hidden`, called `name` in errors, as a list of whole numbers, each at least 1.

    Raises:
        TypeError, ValueError: it is something else.
    """
    if isinstance(hidden, Integral):
        return [count(name, hidden)]
    if isinstance(hidden, str) or not isinstance(hidden, Iterable):
        raise TypeError(f"{name} is {hidden!r}; expected units of each layer, such as (128, 64)")
    return [count(f"{name}[{k}]", size) for k, size in enumerate(hidden)]
