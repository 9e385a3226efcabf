"""Every rule on Numba's CUDA simulator, as a script."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
from cases.lists import SIGNED
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.rule_engines.numba_cuda import NumbaCudaEngine
from onepass.kernels.rules import RULES
from oracles.rules import RULES as ORACLES
from tolerances import assert_step, assert_walk

from proving.host.elementwise import CASES, EXTRAS, on_host
from proving.simulator.simulator import CONTROL, Simulated, outcome, tell
from proving.simulator.tools import Outcome

SIZES = {"float16": (255,), "float32": (1, 255, 256, 1023), "float64": (255,)}
SMALL = (32, 3)  # at most 96 threads, so each takes several elements
GRIDS = {
    "small": SMALL,
    "large": (256, 1 << 16),  # 4 blocks for 1023 elements, one thread idle
    "special": (32, cuda_launch.MAX_BLOCKS),
    "plain": (32, cuda_launch.MAX_BLOCKS),  # without weight decay
}
STEPS = 2


def names() -> list[str]:
    """All cases: every size on the small grid, one on the large, inf and NaN, no weight decay."""
    small = [f"{name} {dtype} {n} small" for name in CASES for dtype in SIZES for n in SIZES[dtype]]
    special = [f"{name} float32 0 special" for name in CASES]
    plain = [f"{name} float32 255 plain" for name in CASES]
    return [*small, "adam float32 1023 large", *special, *plain, CONTROL]


def check(case: str) -> Outcome:
    """A few steps from the public function down to the simulated threads."""
    if case != CONTROL:
        return outcome(*walk(*case.split()))
    run = NumbaCudaEngine.run

    def another(self: Any, rule: Any, *args: Any) -> None:
        run(self, RULES["lion"], *args)

    with mock.patch.object(NumbaCudaEngine, "run", another):
        return outcome(*walk("rmsprop", "float32", "9", "small"))


def walk(name: str, dtype: str, size: str, grid: str) -> tuple[Simulated, Any]:
    """A device and what it is held to."""
    function, options = CASES[name]
    rule, options = ORACLES[function], options | ({} if grid == "plain" else EXTRAS["all"])

    def held(device: Simulated) -> None:
        kernel = device.kernel(function)
        if int(size):
            walk = {"size": int(size), "steps": STEPS, "asarray": device.asarray}
            assert_walk(kernel, rule, options, dtype, **walk)
        else:
            step = {"step": 30} if "step" in rule.options else {}
            assert_step(
                kernel, rule, special_arrays(rule.arrays_with(options), dtype), options | step
            )

    return Simulated(*GRIDS[grid]), held


def special_arrays(names: list[str], dtype: str) -> dict[str, Any]:
    """Each special value in each array, where the others are 1; sums of squares are not below 0."""
    special = np.array([0.0, np.inf, -np.inf, np.nan], dtype)
    arrays = {name: np.ones(len(special) * len(names), dtype) for name in names}
    for k, (name, array) in enumerate(arrays.items()):
        array[len(special) * k :][: len(special)] = special if name in SIGNED else np.abs(special)
    return {name: on_host(array) for name, array in arrays.items()}


if __name__ == "__main__":
    tell(names(), check)
