"""Operations over rows on Numba's CUDA simulator, as a script: norms."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from cases import norms as norm_cases
from onepass.kernels.rows.gpu import numba_cuda, numba_text
from onepass.kernels.rows.gpu import plan as gpu_plan
from onepass.kernels.rows.gpu.plan import Room

from proving.norm_passes import PASSES, case_of
from proving.simulator import simulator
from proving.simulator.simulator import CONTROL, outcome, tell
from proving.simulator.softmax import exchange
from proving.simulator.tools import Outcome

# Warps of 4 threads that keep two values of an array: blocks of 8 threads, of 8 or 16 for a row.
PLAN = {"WARP": 4, "THREADS": 8, "MORE": 16, "FEW": 8, "JOINED": 4, "NUMBA": Room(64, 4, 1)}

# a pass, shape, dtype, groups
CASES: dict[str, tuple[str, tuple[int, ...], str, int]] = {
    "a thread a row": ("layer norm", (19, 2), "float32", 0),
    "some lanes": ("layer norm", (5, 9), "float64", 0),
    "a block": ("layer norm", (5, 23), "float16", 0),
    "a block that reads again": ("layer norm, residual, GELU", (3, 81), "float32", 0),
    "rows of several parts": ("layer norm", (40, 3), "float32", 0),
    "planes": ("group norm, ReLU", (3, 4, 3), "float32", 2),
    "planes of one value": ("group norm, ReLU", (3, 6), "float64", 3),
    "planes of a block": ("group norm, ReLU", (2, 1, 45), "float32", 1),
    "many planes": ("group norm, ReLU", (2, 22, 3), "float16", 1),
}
if not norm_cases.BFLOAT16_MISSING:
    CASES |= {
        "bfloat16": ("layer norm, residual, GELU", (5, 23), "bfloat16", 0),
        "bfloat16 that is read again": ("layer norm", (3, 81), "bfloat16", 0),
        "bfloat16 in planes": ("group norm, ReLU", (3, 4, 3), "bfloat16", 2),
    }
DTYPES = {  # each kernel in each dtype, small
    f"{name}, {dtype}": (name, (3, 4, 3) if "group" in name else (5, 3), dtype, 2)
    for name in PASSES
    for dtype in ("float16", "float32", "float64")
}
OUTLIER = "a lead far off"


def names() -> list[str]:
    return [*CASES, *DTYPES, OUTLIER, CONTROL]


@dataclass(frozen=True)
class Simulated(simulator.Simulated):
    where: ClassVar[str] = "operation"
    device: ClassVar[str] = "cpu"

    def _patches(self) -> Iterable[Any]:
        from numba import cuda
        from numba.cuda.simulator.kernelapi import FakeCUDAModule

        jit = cuda.jit
        yield from super()._patches()
        yield mock.patch.object(cuda, "jit", lambda f, launch_bounds=None, **how: jit(f, **how))
        yield mock.patch.object(FakeCUDAModule, "shfl_xor_sync", exchange, create=True)
        yield mock.patch.multiple(gpu_plan, **PLAN)
        yield mock.patch.object(numba_text, "CHUNK", 3)
        yield mock.patch.object(numba_cuda, "_plan", numba_cuda._plan.__wrapped__)
        yield mock.patch.object(numba_cuda, "processors", return_value=1)


def check(name: str) -> Outcome:
    """A pass each way."""
    of, shape, dtype, groups = (CASES | DTYPES).get(name, CASES["some lanes"])
    case = case_of(of, shape, dtype, **({"groups": groups} if "group" in of else {}))
    if name == OUTLIER:
        case.x[::2, 0] = 3e3
    total = numba_text.Text.total

    def twice(text: numba_text.Text, sums: Iterable[str]) -> str:
        return total(text, sums) + "".join(f"{name} *= C(2)\n" for name in sums)

    wrong = mock.patch.object(numba_text.Text, "total", twice)
    with wrong if name == CONTROL else nullcontext():
        return outcome(Simulated(), lambda device: norm_cases.check(device, case))


if __name__ == "__main__":
    np.seterr(all="ignore")
    tell(names(), check)
