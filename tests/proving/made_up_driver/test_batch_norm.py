"""Batch normalization of plain arrays takes few functions of Python, few launches and nothing else
of the driver: they are counted."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels

from proving.made_up_driver import counting

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]

NOTHING = dict.fromkeys(("copies", "fills", "waits", "allocations", "releases"), 0)
SHAPES = {  # launches of a forward and of a backward
    (128, 256): 1, (32, 10): 1, (16, 8, 7, 7): 1, (4, 3, 28, 28): 1, (5000, 16): 2,
    (2, 2, 33000): 2,
}  # fmt: skip
MOST_CALLS = {"forward": 58, "backward": 64, "inference": 40}  # of Python's functions


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_of_the_plainest_kind_take_the_quick_way(shape, axis, residual):
    import cupy

    channels = shape[axis]
    rng = np.random.default_rng(0)
    x, dy = (cupy.asarray(rng.random(shape, dtype="float32")) for _ in range(2))
    gamma, beta, mean, var = (cupy.full(channels, k, "float32") for k in (1, 0, 0, 1))
    grads = cupy.zeros(2 * channels, "float32")
    options = {"channel_axis": axis, "activation": "relu"}
    if residual:
        options["residual"] = cupy.asarray(rng.random(shape, dtype="float32"))
    _, saved = kernels.batch_norm_forward(x, gamma, beta, mean, var, **options)
    places = {"gamma_grad": grads[:channels], "beta_grad": grads[channels:]}
    runs = {
        "forward": lambda: kernels.batch_norm_forward(x, gamma, beta, mean, var, **options),
        "backward": lambda: kernels.batch_norm_backward(dy, saved, **places),
        "inference": lambda: kernels.batch_norm_inference(x, gamma, beta, mean, var, **options),
    }
    for name, run in runs.items():
        run()  # compiles, and takes memory for the pool
        run()
        counting.reset()
        assert len(counting.python_calls(run)) <= MOST_CALLS[name] + 8 * residual
        counted = counting.counts()
        if axis == 1:
            assert counted["launches"] == (1 if name == "inference" else SHAPES[shape])
        assert {each: counted[each] for each in NOTHING} == NOTHING


@pytest.mark.parametrize("gaps", [False, True])
def test_places_in_float16_are_tried_once_and_cost_a_launch_each(gaps):
    import cupy

    rng = np.random.default_rng(0)
    x, dy = (cupy.asarray(rng.random((32, 10)).astype("float16")) for _ in range(2))
    gamma, beta = (cupy.full(10, k, "float16") for k in (1, 0))
    _, saved = kernels.batch_norm_forward(x, gamma, beta)
    grads = cupy.zeros((2, 10, 2), "float16")
    rows = grads[:, :, 0] if gaps else grads.reshape(4, 10)
    places = {"gamma_grad": rows[0], "beta_grad": rows[1]}
    for _ in range(2):
        kernels.batch_norm_backward(dy, saved, **places)
        counting.reset()
    kernels.batch_norm_backward(dy, saved, **places)
    # gamma and beta in float32, dx and the sums, these in float16, and to where they belong
    expected = NOTHING | {"launches": 2 + 1 + 2 + (2 if gaps else 0)}
    counted = counting.counts()
    assert {each: counted[each] for each in expected} == expected


def test_places_of_a_backward_by_running_statistics_are_tried_once():
    import cupy

    x, dy = (cupy.ones((32, 10), "float32") for _ in range(2))
    gamma, beta, mean, var = (cupy.full(10, k, "float32") for k in (1, 0, 0, 1))
    places = {"gamma_grad": cupy.zeros(10, "float32"), "beta_grad": cupy.zeros(10, "float32")}
    counted = []
    for given in ({}, places, {}, places):
        counting.reset()
        kernels.batch_norm_inference_backward(dy, x, gamma, beta, mean, var, **given)
        counted.append(counting.counts())
    without, beside = counted[2:]
    assert beside["launches"] == without["launches"]
    assert beside["fills"] == without["fills"]
    assert beside["copies"] == without["copies"] + 2, "to where they belong"
