"""The kernels of a captured step do what a step does: the text that ships, run on the host."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onepass.kernels.program.stops import CARE, NOT_FINITE
from onepass.kernels.rule_engines.cuda_clock import DRAWS, FACTOR, STEP, STOP
from onepass.kernels.rules import RULES
from tolerances import DTYPES

from proving.host import elementwise as hostcuda
from proving.host.device import planted
from proving.host.elementwise import on_host
from proving.host.graph import Device, clock_of
from proving.host.raw import ORDERS

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
FEW = {"threads": 8}


# --- a rule by the rows of a table ----------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_a_step_by_a_table_follows_the_oracle(name, dtype):
    Device(**FEW).prove_table(name, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_a_step_by_a_table_is_clean(name, dtype, kind):
    Device(kind, **FEW).prove_table(name, dtype)


def test_a_step_that_is_stopped_writes_nothing():
    arrays = [on_host(np.full(9, k + 1.0, "float32")) for k in range(4)]
    rule = RULES["adam"]
    Device(**FEW).step((rule, (1.0,) * 9), tuple((each,) for each in arrays), stop=CARE)
    assert [each.tolist() for each in arrays] == [[k + 1.0] * 9 for k in range(4)]


@pytest.mark.parametrize(
    "mistake",
    [
        ("clock[STEP] - 1", "clock[STEP]"),
        ("* rows + groups[blockIdx.x]", "+ groups[blockIdx.x]"),
        ("groups[blockIdx.x]", "2 * groups[blockIdx.x]"),
        ("row[0] * ((const double *)clock)[FACTOR]", "row[0]"),
        ("C(row[1])", "C(row[2])"),
    ],
)
def test_a_planted_mistake_in_a_row_is_caught(mistake):
    with pytest.raises(AssertionError, match="eps of float"):
        Device(edit=planted("", *mistake), **FEW).prove_table("adam", "float32")


# --- rows of a batch ------------------------------------------------------------------------------
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [(), (1,), (3,), (4,), (37,), (2, 8)])
def test_rows_are_those_of_the_step(width, dtype, order):
    check_rows(Device(order=order, **FEW), width, dtype)


def check_rows(device, width, dtype):
    source = np.random.default_rng(0).standard_normal((20, *width)).astype(dtype)
    numbers = np.random.default_rng(1).permutation(20)

    def check(device):
        for step in range(4):
            found = device.take(source, numbers, step, 5)
            np.testing.assert_array_equal(found, source[numbers[5 * step : 5 * step + 5]])

    device.prove(check)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_taken_cleanly(dtype, kind):
    check_rows(Device(kind, **FEW), (37,), dtype)
    check_rows(Device(kind, **FEW), (8,), dtype)


@pytest.mark.parametrize(
    "mistake",
    [
        ("clock[STEP] * gridDim.x + blockIdx.x", "blockIdx.x"),
        ("k = wide * sizeof(Wide) + first", "k = (wide + 1) * sizeof(Wide) + first"),
        ("k < wide; k += all", "k < wide; k += all + 1"),
    ],
)
def test_a_planted_mistake_in_rows_is_caught(mistake):
    device = Device(edit=planted("", *mistake), threads=2)
    width = 51 if "Wide" in mistake[0] else 50  # not by 16 bytes, and so
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        check_rows(device, (width,), "float64")


# --- what is decided ------------------------------------------------------------------------------
def decided(loss, squares, most):
    """(why it stops, factor) of a step whose factor on gradients is -3, by the definition."""
    if not math.isfinite(loss):
        return NOT_FINITE, 0.0
    if squares is None or squares == 0:
        return 0, 1.0
    if not 1e-270 <= squares < math.inf:
        return CARE, 0.0
    norm = 3 * math.sqrt(squares)
    return 0, most / norm if norm > most else 1.0


FIGURES = [None, 0.0, 1e-320, 1e-269, 0.5, 1e300, math.inf, math.nan]


@pytest.mark.parametrize("metric", [np.int64(7), np.float64(0.5), np.float32(0.25)])
@pytest.mark.parametrize("squares", FIGURES, ids=str)
@pytest.mark.parametrize("loss", [0.5, 0.0, 1e308, math.inf, -math.inf, math.nan])
def test_what_is_decided(loss, squares, metric):
    check_decided(Device(), loss, squares, metric)


def check_decided(device, loss, squares, metric, most=2.0):
    def check(device):
        clock = clock_of(step=1, factor=0.0)
        clock[DRAWS] = 5
        notes = device.decide(loss, metric, squares, most, clock)
        stop, factor = decided(loss, squares, most)
        np.testing.assert_array_equal(notes, [[-1, loss], [-1, float(metric)]])
        assert clock[STOP] == stop, "why it stops"
        assert (clock[STEP], clock[DRAWS]) == ((1, 5) if stop else (2, 6)), "the next step"
        np.testing.assert_allclose(clock.view("float64")[FACTOR], factor, rtol=1e-15)

    device.prove(check)


@pytest.mark.parametrize("squares", [None, 0.5])
def test_it_is_decided_cleanly(squares, kind):
    check_decided(Device(kind), 0.5, squares, np.int64(3))


def test_after_a_stop_nothing_is_noted():
    clock = clock_of(step=1, stop=CARE, factor=0.25)
    before = clock.copy()
    assert (Device().decide(0.5, np.int64(3), None, 0.0, clock) == -1).all()
    np.testing.assert_array_equal(clock, before)


@pytest.mark.parametrize(
    "mistake",
    [
        ("    ++clock[DRAWS];", ""),
        ("fabs(table[step * COLUMNS])", "table[step * COLUMNS]"),
        ("sqrt(*squares)", "*squares"),
        ("*squares >= LEAST", "*squares >= 0"),
        ("fabs(*loss) < INFINITE", "*loss < INFINITE"),
        ("    if (clock[STOP]) return;\n    ((double", "    ((double"),
    ],
)
def test_a_planted_mistake_in_what_is_decided_is_caught(mistake):
    device = Device(edit=planted("decide", *mistake))
    with pytest.raises(AssertionError):
        check_several(device)


def check_several(device):
    for loss, squares in ((0.5, 1e300), (0.5, 1e-320), (-math.inf, 1.0), (0.5, 0.5)):
        check_decided(device, loss, squares, np.int64(7))


def test_what_shows_mistakes_is_right_without_one():
    check_several(Device())
