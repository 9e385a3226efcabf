"""Every rule on Numba's CUDA simulator, as a script: the simulator must be on before Numba starts.

It runs the engine "numba-cuda" itself, launch included, with NumPy arrays in the place of CuPy's,
and prints one JSON object: each case, what was wrong with it, and the kernels that ran.
"""

from __future__ import annotations

import json
import sys
import warnings
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from proving.simulator.tools import Outcome

SIZES = {"float16": (255,), "float32": (1, 255, 256, 1023), "float64": (1, 255, 256, 1023)}
GRIDS = {
    "small": {"THREADS": 32, "MAX_BLOCKS": 3},  # at most 96 threads, so each takes several elements
    "large": {"THREADS": 256, "MAX_BLOCKS": 1 << 16},  # 4 blocks for 1023 elements, one thread idle
    "special": {"THREADS": 32},
    "plain": {"THREADS": 32},  # without weight decay
}
STEPS = 2
CONTROL = "control"  # a rule that isn't what it is compared with


def cases() -> list[str]:
    """The names of all cases: every size on the small grid, one on the large, inf and NaN, and no
    weight decay."""
    from proving.host.elementwise import CASES

    small = [f"{name} {dtype} {n} small" for name in CASES for dtype in SIZES for n in SIZES[dtype]]
    special = [f"{name} float32 0 special" for name in CASES]
    plain = [f"{name} float32 255 plain" for name in CASES]
    return [*small, "adam float32 1023 large", *special, *plain, CONTROL]


def check(name: str, dtype: str, size: int, grid: str, swap: Any = None) -> Outcome:
    """A few steps from the public function down to the simulated threads."""
    from onepass import kernels
    from onepass.kernels.rule_engines import numba_cuda
    from oracles.rules import RULES
    from tolerances import assert_step, assert_walk

    from proving.host.elementwise import CASES, EXTRAS, on_host

    function, options = CASES[name]
    extra = {} if grid == "plain" else EXTRAS["all"]
    kernel, rule, options = getattr(kernels, function), RULES[function], options | extra
    launched: set[tuple[str, str]] = set()
    engine, run = numba_cuda.NumbaCudaEngine(), numba_cuda.NumbaCudaEngine.run

    def run_rule(rule: Any, arrays: Any, *args: Any) -> None:
        launched.add((rule.name, arrays[0].dtype.name))
        run(engine, swap or rule, arrays, *args)

    with (
        mock.patch("onepass.kernels.launch.find_engine", return_value=engine),
        mock.patch.object(engine, "run", run_rule),
        mock.patch.multiple(numba_cuda, **GRIDS[grid]),
    ):
        try:
            if size:
                walk = {"size": size, "steps": STEPS, "asarray": on_host}
                assert_walk(kernel, rule, options, dtype, **walk)
            else:
                options |= {"step": 3} if "step" in rule.options else {}
                assert_step(kernel, rule, special_arrays(rule.arrays, dtype), options)
        except Exception as error:  # whatever it is, it is the case's result
            return Outcome(f"{type(error).__name__}: {error}", [])
    return Outcome("", sorted(launched))


def special_arrays(names: list[str], dtype: str) -> dict[str, Any]:
    """Each special value in each array, where the others are 1; sums of squares are not below 0."""
    from proving.host.elementwise import on_host

    special = np.array([0.0, np.inf, -np.inf, np.nan], dtype)
    arrays = {name: np.ones(len(special) * len(names), dtype) for name in names}
    for k, (name, array) in enumerate(arrays.items()):
        signed = name in ("param", "grad", "velocity", "m")
        array[len(special) * k :][: len(special)] = special if signed else np.abs(special)
    return {name: on_host(array) for name, array in arrays.items()}


def main() -> None:
    from numba import cuda
    from onepass.kernels.rules import RULES

    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's on inf and NaN, in every thread
    stream = SimpleNamespace(ptr=7)
    cupy = SimpleNamespace(cuda=SimpleNamespace(get_current_stream=lambda: stream))
    sys.modules["cupy"] = cupy  # type: ignore[assignment]
    cuda.external_stream = {stream.ptr: 0}.__getitem__  # the simulator has no such streams
    results = {}
    for case in cases()[:-1]:
        name, dtype, size, grid = case.split()
        results[case] = check(name, dtype, int(size), grid)
    results[CONTROL] = check("rmsprop", "float32", 9, "small", RULES["rmsprop-eps-inside"])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
