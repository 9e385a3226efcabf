"""What must hold before ranks take a step, and be alike on all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...backend.version import __version__
from ..layers.batch_norm import BatchNorm
from ..network.sequential import Sequential
from ..optimizers.frame.encoding import NOT_SHARED
from ..optimizers.frame.optimizer import Optimizer
from .agreement import Agreement


def check_same(agreement: Agreement, facts: Mapping[str, Any]) -> None:
    """Raise on all ranks where one has other facts than rank 0.

    Args:
        facts: what each is called -> what it is here; compared by `==`, once pickled.

    Raises:
        ValueError: the first rank that differs is named, and the first fact.
    """
    first, *others = agreement.communicator.objects(dict(facts))
    for rank, own in enumerate(others, start=1):
        for name in {**first, **own}:
            here, there = (each.get(name, "none") for each in (own, first))
            if here != there:
                raise agreement.alike(
                    ValueError(
                        f"rank {rank} has {name} {here}; expected {there}, as rank 0 has. All "
                        "ranks run one program on the same data, and each takes its part"
                    )
                )


def facts_of(net: Sequential, optimizer: Optimizer) -> dict[str, Any]:
    """What a network and its optimizer have to have in common with those of the other ranks."""
    shapes = {name: tuple(array.shape) for name, array in net.parameters().items()}
    return {
        "onepass": __version__,
        "layers": repr(list(net.layers)),
        "parameters": shapes,
        "dtype": str(net.dtype),
        "a device of the kind": net.backend.device.partition(":")[0],
        "optimizer": type(optimizer).__name__,
        **facts_of_steps(optimizer),
    }


def facts_of_steps(optimizer: Optimizer) -> dict[str, Any]:
    """What the steps of an optimizer have to have in common with those of the other ranks."""
    return {
        "optimizer settings": {**optimizer.hyper, **optimizer.options},
        "groups": json.loads(json.dumps(optimizer.arrangement(), default=repr)),
        "optimizer steps": optimizer.steps,
    }


def check_alone(net: Sequential, optimizer: Optimizer) -> None:
    """Refuse an optimizer of other arrays, or one that ranks step together already."""
    if not isinstance(net, Sequential) or not isinstance(optimizer, Optimizer):
        kinds = f"net is a {type(net).__name__}, optimizer a {type(optimizer).__name__}"
        raise TypeError(f"{kinds}; expected a Sequential and an Optimizer")
    if optimizer.params is not net.parameters():
        name = type(optimizer).__name__
        raise ValueError(f"optimizer updates other arrays; expected {name}(net.parameters())")
    if optimizer.formats:
        raise ValueError(NOT_SHARED)
    if optimizer.storage.share is not None:
        raise ValueError(
            "optimizer is stepped by ranks together already; expected their DataParallel to be "
            "closed first, or to be given as comm"
        )


def check_kinds(net: Sequential) -> None:
    """Refuse batch norms of which some wait for other ranks, and some don't: a rank without rows
    could neither go through all layers nor be missed."""
    norms = [each for each in net.layers if isinstance(each, BatchNorm)]
    norms = [each for each in norms if not each.use_running_average]
    own = next((each for each in norms if not each.sync), None)
    if own is not None and any(each.sync for each in norms):
        raise ValueError(
            f"net has {own!r} beside one with sync=True; expected several ranks to train a network "
            "of which all have it, or none"
        )
