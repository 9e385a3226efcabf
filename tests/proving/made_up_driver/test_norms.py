"""Norms of CuPy's arrays take few launches and nothing else of the driver: they are counted."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels

from proving.made_up_driver import counting

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]

NOTHING = dict.fromkeys(("copies", "fills", "waits", "allocations", "releases"), 0)
CASES = {"layer_norm": (128, 256), "rms_norm": (3, 5000), "group_norm": (4, 6, 9)}


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("operation", CASES)
def test_a_pass_is_one_launch_and_two_with_sums_of_columns(operation, residual):
    import cupy

    shape, rng = CASES[operation], np.random.default_rng(0)
    x, dy, other = (cupy.asarray(rng.random(shape, dtype="float32")) for _ in range(3))
    gamma = cupy.ones(shape[1], "float32")
    options = {"groups": 2} if operation == "group_norm" else {}
    options |= {"residual": other} if residual else {}
    forward, backward = (getattr(kernels, f"{operation}_{way}") for way in ("forward", "backward"))
    _, saved = forward(x, gamma, **options)
    _, bare = forward(x, **options)
    runs = {
        "forward": (lambda: forward(x, gamma, **options), 1),
        "backward": (lambda: backward(dy, saved), 2),
        "backward without vectors": (lambda: backward(dy, bare), 1),
    }
    for name, (run, launches) in runs.items():
        run()  # compiles, and takes memory for the pool
        run()
        counting.reset()
        run()
        counted = counting.counts()
        assert counted["launches"] == launches, name
        assert {each: counted[each] for each in NOTHING} == NOTHING, name
