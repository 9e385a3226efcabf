"""What must be alike on all ranks, compared before the first step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...backend.version import __version__
from ..network.sequential import Sequential
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
    settings = {**optimizer.hyper, **optimizer.options}
    arrangement = json.loads(json.dumps(optimizer.arrangement(), default=repr))
    return {
        "onepass": __version__,
        "layers": repr(list(net.layers)),
        "parameters": shapes,
        "dtype": str(net.dtype),
        "a device of the kind": net.backend.device.partition(":")[0],
        "optimizer": type(optimizer).__name__,
        "optimizer settings": settings,
        "groups": arrangement,
        "optimizer steps": optimizer.steps,
    }
