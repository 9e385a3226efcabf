"""Layers for inference: batch normalization beside a Dense goes into its weight and bias."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import NamedTuple

import numpy as np

from ...kernels import fold_batch_norm
from ..layers.batch_norm import BatchNorm
from ..layers.dense import Dense
from ..layers.layer import Layer
from ..types import HostArray


class Part(NamedTuple):
    """A layer, with its parameters and buffers in float64, by their names in it; and what its next
    random numbers depend on."""

    layer: Layer
    arrays: dict[str, HostArray]
    random_state: Mapping[str, int]


def parts_of(layers: Iterable[Layer], state: Mapping[str, HostArray]) -> list[Part]:
    """Layers alike with copies of what `state`, a network's, holds of them."""
    parts = []
    for index, layer in enumerate(layers):
        names = [*layer.shapes(), *layer.initial_buffers()]
        own = {name: state[f"{index}.{name}"].astype(np.float64) for name in names}
        parts.append(Part(deepcopy(layer), own, layer.state()))
    return parts


def folded(parts: Iterable[Part]) -> list[Part]:
    """The parts, as few as batch normalizations that go into a Dense leave."""
    left: list[Part] = []
    for part in parts:
        left.append(part)
        while len(left) > 1 and (one := _joined(*left[-2:])) is not None:
            left[-2:] = [one]
    return left


def _joined(first: Part, second: Part) -> Part | None:
    """One Dense that does what both do without training; None if there is none.

    Layers of other classes than these two are left alone: they may do something else.
    """
    kinds = type(first.layer), type(second.layer)
    if kinds not in ((Dense, BatchNorm), (BatchNorm, Dense)):
        return None
    before = kinds == (BatchNorm, Dense)
    one, other = first.layer.config(), second.layer.config()
    if one["activation"] not in (None, "linear"):  # between the two
        return None
    dense, norm = (second.arrays, first.arrays) if before else (first.arrays, second.arrays)
    vectors = (norm[name] for name in ("gamma", "beta", "running_mean", "running_var"))
    weight, bias = fold_batch_norm(
        *(dense["weight"], dense.get("bias"), *vectors),
        eps=(one if before else other)["eps"],
        before=before,
    )
    arguments = (other if before else one) | {"bias": True, "activation": other["activation"]}
    return Part(Dense(**arguments), {"weight": weight, "bias": bias}, {})
