"""Exponents of cost: known powers come back."""

from __future__ import annotations

import pytest
from cases.reports import full_report, measurement, small_report
from hypothesis import given
from hypothesis import strategies as st
from onepass.bench.report.exponents import growths


def report_of(points, **changed):
    return small_report(
        *(
            measurement("numba", seconds, label=str(size), size=size, **changed)
            for size, seconds in points
        )
    )


@given(
    power=st.floats(-1, 3),
    factor=st.floats(1e-9, 1e-3),
    sizes=st.sets(st.integers(1, 10**8), min_size=3),
)
def test_a_power_law_gives_its_power(power, factor, sizes):
    (found,) = growths(report_of([(size, factor * size**power) for size in sizes]))
    assert found.sizes == tuple(sorted(sizes))
    assert found.slope() == pytest.approx(power, abs=1e-6)
    assert found.upper == pytest.approx(power, abs=1e-6)


def test_local_slopes_lie_between_neighbours():
    (found,) = growths(report_of([(10, 1.0), (100, 10.0), (1000, 10.0), (10_000, 1000.0)]))
    assert found.local == pytest.approx((1.0, 0.0, 2.0))


def test_the_slope_above_a_size_includes_that_size_and_leaves_smaller_ones_out():
    (found,) = growths(report_of([(10, 7.0), (100, 7.0), (1000, 7.0), (10_000, 70.0)]))
    assert found.slope(1000) == pytest.approx(1.0)
    assert found.slope(1001) is None
    assert found.slope(100) == pytest.approx(0.5)
    assert found.upper == pytest.approx(0.5)


def test_least_squares_is_not_the_line_through_the_ends():
    (found,) = growths(report_of([(10, 1.0), (100, 1.0), (1000, 1.0), (10_000, 10.0)]))
    assert found.slope() == pytest.approx(0.3)  # the ends alone give 1/3


def test_three_sizes_are_needed_and_each_counts_once():
    assert growths(report_of([(10, 1.0), (100, 10.0), (100, 10.0)])) == []
    (found,) = growths(report_of([(10, 1.0), (100, 4.0), (100, 25.0), (1000, 100.0)]))
    assert found.seconds == pytest.approx((1.0, 10.0, 100.0))


def test_operations_dtypes_devices_and_paths_are_kept_apart():
    found = growths(full_report(gpu=True))
    keys = [(one.section, one.operation, one.dtype, one.device, one.path) for one in found]
    assert len(keys) == len(set(keys))
    assert ("steps", "adam", "float32", "cuda:0", "cupy") in keys
    assert ("growth", "adam by tensors", "float32", "cpu", "flat") in keys
    assert not any(section == "first-call" for section, *_ in keys)  # its sizes are 0
