"""Batch normalization on Numba's CUDA simulator, as a script."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from cases import batch_norm as batchnorm_cases
from cases.batch_norm import infer, make, train
from cases.batch_norm_ranks import assert_ranks
from onepass.kernels.batch_norm import formula
from onepass.kernels.batch_norm.gpu import numba_cuda_plan as gpu_plan

from proving.simulator import simulator
from proving.simulator.simulator import CONTROL, outcome, tell
from proving.simulator.tools import Outcome

# Blocks of 8 threads, or 2 of each of 4 neighbouring channels; up to 3 parts.
PLAN = {"LONG": 6, "NEIGHBOURS": 4, "BLOCKS": 5, "MOST_PARTS": 3, "LEAST": 1}

# shape, dtype, and what `make` takes
CASES: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "planes": ((3, 2, 7), "float32", {"activation": "relu"}),
    "planes, float64": ((3, 1, 9), "float64", {}),
    "neighbours": ((5, 6, 3), "float32", {}),
    "neighbours, float16": ((7, 5), "float16", {"activation": "relu"}),
    "fewer values than threads": ((2, 3), "float32", {}),
    "channels last": ((3, 4, 5), "float64", {"activation": "relu", "channel_axis": -1}),
    "N C H W over N H W C": ((2, 3, 3, 2), "float32", {"order": (0, 2, 3, 1)}),
    "residual, planes": ((3, 2, 7), "float32", {"activation": "relu", "residual": True}),
    "residual, neighbours": ((7, 5), "float16", {"activation": "relu", "residual": True}),
    "residual, float64": ((3, 1, 9), "float64", {"activation": "relu", "residual": True}),
    "residual, no ReLU": ((5, 6, 3), "float32", {"residual": True}),
}
OUTLIER, NAN, BARE = "outlier", "nan", "without gamma and beta"
RANKS = {
    "planes": (1, 2),
    "planes, float64": (3, 0),
    "neighbours": (2, 3),
    "residual, planes": (2, 1),
}


def names() -> list[str]:
    return [*CASES, *map(_on_ranks, RANKS), OUTLIER, NAN, BARE, CONTROL]


def _on_ranks(name: str) -> str:
    return f"{name}, on ranks"


@dataclass(frozen=True)
class Simulated(simulator.Simulated):
    where: ClassVar[str] = "operation"

    def _patches(self) -> Iterable[Any]:
        yield from super()._patches()
        yield mock.patch.multiple(gpu_plan, **PLAN)


def check(name: str) -> Outcome:
    """A step of training and inference."""
    shares = {_on_ranks(case): each for case, each in RANKS.items()}.get(name)
    shape, dtype, options = CASES.get(name.removesuffix(_on_ranks("")), CASES["planes"])
    case = make(shape, dtype=dtype, **options)
    if name == OUTLIER:
        case.x[0, :, 0] = 1e6
    if name == NAN:
        case.x[1, 1, 3] = np.nan
    if name == BARE:
        case = make(shape)._replace(gamma=None, beta=None)

    def held(device: simulator.Simulated) -> None:
        if name == NAN:
            y, dx, *_ = train(device, case.x, case.gamma, case.beta, dy=case.dy, **case.options)
            for array in (y, dx):
                assert np.isnan(array[:, 1]).all(), "ReLU made a number of NaN"
                assert np.isfinite(array[:, 0]).all(), "NaN went into another channel"
            return
        if shares is not None:
            assert_ranks(device, case, shares)
            return
        batchnorm_cases.check(device, case)
        if name in CASES:
            infer(device, case)

    # statistics that are not averaged but replaced
    wrong = mock.patch.object(formula, "averaged", lambda running, latest, keep, _: (latest,))
    with wrong if name == CONTROL else nullcontext():
        return outcome(Simulated(), held)


if __name__ == "__main__":
    tell(names(), check)
