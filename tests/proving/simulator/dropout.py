"""Dropout on Numba's CUDA simulator, as a script."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from cases.dropout import BIG, assert_right, example
from onepass.kernels.inverted_dropout.arguments import mask_of
from onepass.kernels.inverted_dropout.array import ArrayDropout
from onepass.kernels.inverted_dropout.gpu import numba_cuda_kernels
from tolerances import DTYPES

from proving.simulator import simulator
from proving.simulator.simulator import CONTROL, outcome, tell
from proving.simulator.tools import Outcome

SIZES = (1, 4, 7, 4 * simulator.Simulated.threads * simulator.Simulated.blocks, 250)
CASES = [f"{dtype} {size}" for dtype in DTYPES for size in SIZES]
IN_PLACE, STRIDED, SPECIAL = "in place", "strided", "inf and nan"


def names() -> list[str]:
    return [*CASES, IN_PLACE, STRIDED, SPECIAL, CONTROL]


@dataclass(frozen=True)
class Simulated(simulator.Simulated):
    where: ClassVar[str] = "operation"


def check(name: str) -> Outcome:
    """What is wrong with y."""
    dtype, size = name.split() if name in CASES else ("float32", "41")
    x = example(int(size), dtype)

    def held(device: simulator.Simulated) -> None:
        dropout = device.kernel("dropout")
        if name == SPECIAL:
            x[:30] = np.repeat([np.nan, np.inf, -np.inf], 10)
            y = dropout(device.asarray(x), 0.5, **BIG)
            np.testing.assert_array_equal(y, _reference(x, 0.5, BIG))
            return
        given, out = device.asarray(x), device.asarray(np.full_like(x, np.nan))
        if name == IN_PLACE:
            out = given
        if name == STRIDED:
            given, out = (device.asarray(np.repeat(array, 2))[::2] for array in (given, out))
        y = dropout(given, 0.7, **BIG, out=out)
        assert y is out
        assert name == IN_PLACE or np.array_equal(given, x), "x was written"
        assert_right(np.asarray(y), x, 0.7, **BIG)
        assert np.array_equal(y, _reference(x, 0.7, BIG)), "not the array engine's, to the bit"

    a_round_less = mock.patch.object(numba_cuda_kernels, "ROUNDS", 9)
    with a_round_less if name == CONTROL else nullcontext():
        return outcome(Simulated(), held)


def _reference(x: Any, keep_prob: float, mask: dict[str, int]) -> Any:
    y = np.empty_like(x)
    ArrayDropout().run(x, y, mask_of(keep_prob, **mask))
    return y


if __name__ == "__main__":
    tell(names(), check)
