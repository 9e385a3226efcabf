"""A bias's gradient is one launch more, whatever CuPy's own sums take; launches are counted."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels

from proving.made_up_driver import counting

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]

SHAPES = [(4, 3), (5, 48), (3000, 10), (3000, 32)]
NOTHING = dict.fromkeys(("copies", "fills", "waits", "allocations", "releases"), 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_activation_backward_is_two_launches(shape, in_place, dtype):
    import cupy

    rng = np.random.default_rng(0)
    given, y = (cupy.asarray(rng.integers(-4, 5, shape).astype(dtype)) for _ in range(2))
    sums = cupy.empty(shape[1], dtype)
    for _ in range(3):  # the first two compile, and take memory for the pool
        dy = given.copy()
        counting.reset()
        dz = kernels.activation_backward(
            dy, y, "relu", bias_grad=sums, out=dy if in_place else None, engine="cupy"
        )
    counted = counting.counts()
    assert {each: counted[each] for each in ("launches", *NOTHING)} == {"launches": 2, **NOTHING}
    want = np.where(y.get() > 0, given.get(), 0).astype("float64")
    np.testing.assert_array_equal(dz.get(), want)
    np.testing.assert_array_equal(sums.get(), want.sum(axis=0).astype(dtype))


def test_what_has_gaps_takes_a_transfer_more():
    import cupy

    wide = cupy.ones((6, 8, 2), "float32")
    dy, y, sums = wide[:, :, 0], cupy.ones((6, 8), "float32"), cupy.zeros((8, 2), "float32")
    for _ in range(2):
        dz = kernels.activation_backward(
            dy, y, "linear", bias_grad=sums[:, 0], out=dy, engine="cupy"
        )
    assert dz is dy
    assert (sums.get() == [6, 0]).all()
    assert (wide.get() == 1).all()


@pytest.mark.parametrize("rows", [4, 3000])
def test_a_captured_sum_adds_up_what_is_there_then(rows):
    import cupy
    from onepass.kernels.compiling.gpu import cuda_launch
    from onepass.kernels.compiling.gpu.cuda_columns import column_sums

    x, sums = cupy.ones((rows, 8), "float32"), cupy.zeros(8, "float32")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        cuda_launch.zero_between_launches(x)  # as what captures steps sees to
        stream.begin_capture()
        column_sums(x, sums)()
        graph = stream.end_capture()
    for value in (1, 2):
        x[...] = value
        graph.launch(stream)
        stream.synchronize()
        assert (sums.get() == value * rows).all()
