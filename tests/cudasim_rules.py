"""Every rule on Numba's CUDA simulator, as a script: the simulator must be on before Numba starts.

It runs the engine "numba-cuda" itself, launch included, with NumPy arrays in the place of CuPy's,
and prints one JSON object: each case, and what was wrong with it.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

SIZES = {"float16": (255,), "float32": (1, 255, 256, 1023), "float64": (1, 255, 256, 1023)}
GRIDS = {
    "small": {"THREADS": 32, "MAX_BLOCKS": 3},  # at most 96 threads, so each takes several elements
    "large": {"THREADS": 256, "MAX_BLOCKS": 1 << 16},  # 4 blocks for 1023 elements, one thread idle
}
STEPS = 2
CONTROL = "control"  # a rule that isn't what it is compared with


def cases() -> list[str]:
    """The names of all cases: every size on the small grid, one on the large."""
    from hostcuda import CASES

    small = [f"{name} {dtype} {n} small" for name in CASES for dtype in SIZES for n in SIZES[dtype]]
    return [*small, "adam float32 1023 large", CONTROL]


def check(name: str, dtype: str, size: int, grid: dict[str, int], swap: Any = None) -> str:
    """What is wrong after a few steps from the public function down to the simulated threads."""
    from hostcuda import CASES, EXTRAS, on_host
    from onepass import kernels
    from onepass.kernels.engines import numba_cuda
    from oracles import RULES
    from tolerances import assert_walk

    function, options = CASES[name]
    engine, run = numba_cuda.NumbaCudaEngine(), numba_cuda.NumbaCudaEngine.run

    def run_rule(rule: Any, *args: Any) -> None:
        run(engine, swap or rule, *args)

    with (
        mock.patch("onepass.kernels.launch.find_engine", lambda *_: engine),
        mock.patch.object(engine, "run", run_rule),
        mock.patch.multiple(numba_cuda, **grid),
    ):
        try:
            assert_walk(
                getattr(kernels, function),
                RULES[function],
                options | EXTRAS["all"],
                dtype,
                size=size,
                steps=STEPS,
                asarray=on_host,
            )
        except Exception as error:  # whatever it is, it is the case's result
            return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    from numba import cuda
    from onepass.kernels.rules import RULES

    stream = SimpleNamespace(ptr=7)
    cupy = SimpleNamespace(cuda=SimpleNamespace(get_current_stream=lambda: stream))
    sys.modules["cupy"] = cupy  # type: ignore[assignment]
    cuda.external_stream = {stream.ptr: 0}.__getitem__  # the simulator has no such streams
    results = {}
    for case in cases()[:-1]:
        name, dtype, size, grid = case.split()
        results[case] = check(name, dtype, int(size), GRIDS[grid])
    results[CONTROL] = check("rmsprop", "float32", 9, GRIDS["small"], RULES["rmsprop-eps-inside"])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
