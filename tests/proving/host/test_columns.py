"""The CUDA C text of sums of columns on the CPU: in every cut, order of threads and dtype, under
the sanitizers, and with planted mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onepass.kernels.compiling.gpu import cuda_columns
from onepass.kernels.compiling.gpu.cuda_columns import KERNEL, column_sums, plan_of
from tolerances import DTYPES, LIMITS, assert_close

from proving.host import elementwise as hostcuda
from proving.host.activation import SMALL, Device
from proving.host.device import planted
from proving.host.elementwise import on_host
from proving.host.raw import ORDERS
from proving.host.sanitized import missing

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
AS_SHIPPED = {name: getattr(cuda_columns, name) for name in SMALL}
# packs and single elements, one tile and several, whole and in parts
SHAPES = [(1, 1), (3, 8), (500, 8), (97, 40), (200, 5), (3, 64), (61, 24), (90, 6), (90, 12)]


def check(device, shape, dtype, *, shifted=False, bad=None):
    """Hold the sums to the oracle; return their bytes."""
    size = math.prod(shape)
    memory = np.random.default_rng(size).standard_normal(size + shifted).astype(dtype)
    x = memory[int(shifted) :].reshape(shape)
    if bad is not None:
        x[-1, 0] = bad
    sums = on_host(np.full(shape[-1], np.nan, dtype))
    with device.running():
        column_sums(on_host(x), sums)()
    exact, scale = (each.astype("float64").sum(axis=0) for each in (x, np.abs(x)))
    limit = LIMITS[dtype][0] * device.factor
    if bad is not None:
        assert not np.isfinite(sums[0])
        exact, scale, sums = exact[1:], scale[1:], sums[1:]
    assert_close(np.asarray(sums), exact, dtype, scale=scale, limit=limit, what=f"sums of {shape}")
    return sums.tobytes()


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_follow_the_oracle(dtype, shifted):
    for shape in SHAPES:
        device = Device()
        device.prove(check, shape, dtype, shifted=shifted)
        assert device.launched == [(KERNEL, dtype)]


@pytest.mark.parametrize("shape", [(3000, 8), (3000, 5), (40, 130)])
def test_so_they_do_as_they_ship(shape):
    for dtype in DTYPES:
        device = Device(columns=AS_SHIPPED)
        device.prove(check, shape, dtype)
        (call,) = device.calls
        assert call.block == (256,)


def test_they_are_the_same_to_the_bit_in_every_order_of_threads():
    for shape in ((97, 40), (200, 5)):
        assert len({check(Device(order=order), shape, "float32") for order in ORDERS}) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_column(bad):
    for shape in ((3, 8), (200, 5)):
        check(Device(), shape, "float32", bad=bad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["asan", "tsan"])
def test_they_are_clean(kind, dtype):
    if reason := missing(kind):
        pytest.skip(reason)
    for shape in ((97, 40), (61, 5)):
        Device(kind).prove(check, shape, dtype)


def test_gaps_between_sums_stay_as_they_are():
    x, wide = on_host(np.ones((5, 4), "float32")), on_host(np.full(8, 7, "float32"))
    with Device().running():
        run = column_sums(x, wide[::2])
        assert (wide == 7).all()
        x[...] = 2  # as a launch in between may
        run()
    assert wide.tolist() == [10, 7, 10, 7, 10, 7, 10, 7]


def test_no_rows_sum_up_to_nothing():
    x, sums = on_host(np.empty((0, 4), "float32")), on_host(np.ones(4, "float32"))
    with Device().running():
        column_sums(x, sums)()
    assert not sums.any()


PLANTED = {
    "a part left out": ("part = row;", "part = row + 1;"),
    "rows left out": ("left > 0; left -= by", "left > by; left -= by"),
    "a row for two": ("left > 3 * by", "left > 2 * by"),
    "the count not zeroed": ("done[blockIdx.x] = 0;", ";"),
    "half of the threads": ("half = THREADS / 2;", "half = THREADS / 4;"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake):
    right, wrong = PLANTED[mistake]
    device = Device(edit=planted(KERNEL, right, wrong))
    x, sums = (on_host(np.ones(shape, "float32")) for shape in ((103, 24), 24))
    wrong = False
    with device.running():
        for _ in range(2):
            sums[...] = 0
            column_sums(x, sums)()
            wrong |= bool((sums != 103).any())
    assert wrong


# --- plans ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rows", "columns", "aligned", "each", "lanes", "across"),
    [
        (4096, 256, 16, 4, 8, 8), (4096, 256, 4, 1, 32, 8), (4096, 256, 8, 2, 16, 8),
        (4096, 10, 16, 2, 8, 1), (4096, 4, 16, 4, 1, 1), (4096, 1, 16, 1, 1, 1),
        (2, 100_000, 16, 4, 8, 3125),
    ],
)  # fmt: skip
def test_a_warp_reads_neighbours(rows, columns, aligned, each, lanes, across):
    plan = plan_of(rows, columns, 4, aligned, 132)
    assert plan[:3] == (each, lanes, across)
    assert (plan.parts - 1) * plan.share < rows <= plan.parts * plan.share
    assert plan.parts == 1 or plan.across <= 4 * 132


def test_few_columns_fill_the_gpu():
    plan = plan_of(65536, 256, 4, 16, 132)
    assert plan.across * plan.parts >= 4 * 132 * 0.9
    assert plan.share / (256 // plan.lanes) >= 4, "a thread has four rows and more"
