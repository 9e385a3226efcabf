"""Activations on Numba's CUDA simulator, as a script."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

from cases import activation as activation_cases
from onepass.kernels.activation import formula
from onepass.kernels.activation.gpu import cupy_sums as gpu_sums
from tolerances import DTYPES

from proving.simulator import simulator
from proving.simulator.simulator import CONTROL, outcome, tell
from proving.simulator.tools import Outcome

SHAPE = (5, 11)
CASES = [f"{kind} {dtype}" for kind in activation_cases.KINDS for dtype in DTYPES]


def names() -> list[str]:
    return [*CASES, CONTROL]


def column_sums(x: Any, sums: Any) -> Callable[[], None]:
    """What is launched through CuPy, by NumPy."""

    def run() -> None:
        rows = x.reshape(-1, sums.size)
        sums[...] = rows.sum(axis=0, dtype=activation_cases.computed(x.dtype))

    return run


@dataclass(frozen=True)
class Simulated(simulator.Simulated):
    where: ClassVar[str] = "operation"

    def _patches(self) -> Iterable[Any]:
        yield from super()._patches()
        yield mock.patch.object(gpu_sums, "column_sums", column_sums)


def check(name: str) -> Outcome:
    """What is wrong with y, dz and bias_grad."""
    kind, dtype = name.split() if name in CASES else ("relu", "float32")
    wrong = {"relu_gradient": formula.linear_gradient} if name == CONTROL else {}

    def held(device: simulator.Simulated) -> None:
        for biased in (True, False):
            for out in (False, True) if kind in activation_cases.WAYS else (biased,):
                case = activation_cases.make(SHAPE, kind, dtype, biased=biased)
                activation_cases.check(device, case, out)

    with mock.patch.dict(formula.FORMULAS, wrong):
        return outcome(Simulated(), held)


if __name__ == "__main__":
    tell(names(), check)
