"""What is derived from a report: ratios, their causes, break-even points."""

from __future__ import annotations

import pytest
from cases.reports import full_report, measurement, small_report
from onepass.bench.report.ratios import break_evens, ratios, ratios_of


def paths(**seconds):
    return {
        name: measurement(name, value)
        for name, value in ((name.replace("_", " "), value) for name, value in seconds.items())
    }


def test_ratios_of_one_workload():
    one = ratios_of(paths(array=8.0, limit=1.5, torch_fused=3.0, torch_foreach=5.0, numba=2.0))
    assert (one.ours.path, one.peer.path) == ("numba", "torch fused")
    assert (one.gain, one.share, one.against_peer) == (4.0, 0.75, 1.5)


def test_the_peer_is_the_fastest_and_deepspeed_is_one():
    one = ratios_of(paths(torch=3.0, deepspeed=1.0, numba=2.0))
    assert (one.peer.path, one.against_peer) == ("deepspeed", 0.5)


@pytest.mark.parametrize(
    ("names", "ours"),
    [
        (("onepass", "flat"), "flat"),
        (("numba-cuda", "cupy"), "cupy"),
        (("array", "onepass"), "onepass"),
    ],
)
def test_ours_is_the_first_of_the_list_whatever_the_order(names, ours):
    assert ratios_of({name: measurement(name, 1.0) for name in names}).ours.path == ours


def test_what_was_not_measured_is_none():
    one = ratios_of(paths(numba=1.0))
    assert (one.gain, one.share, one.against_peer, one.peer) == (None, None, None, None)
    assert one.attribution == {}
    assert ratios_of(paths(array=1.0, limit=1.0)) is None


def test_the_causes_multiply_to_the_gain():
    one = ratios_of(paths(array=24.0, tuned=12.0, serial=4.0, numba=2.0))
    assert one.attribution == {"allocation": 2.0, "passes": 3.0, "threads": 2.0}
    assert one.gain == 12.0


def test_causes_without_their_paths_are_left_out():
    assert ratios_of(paths(array=24.0, tuned=12.0, cupy=2.0)).attribution == {"allocation": 2.0}
    assert ratios_of(paths(serial=3.0, numba=2.0)).attribution == {"threads": 1.5}


def test_every_workload_of_a_report_is_there_once():
    report = full_report(gpu=True)
    keys = [one.ours.workload for one in ratios(report)]
    assert len(keys) == len(set(keys))
    assert sum(key[0] == "steps" for key in keys) == 2 * 8 * 7


def curve(*gains, ours="numba"):
    """A report with these gains at 10, 100, 1000, ..."""
    return small_report(
        *(
            measurement(path, value, label=str(k), size=10 ** (k + 1))
            for k, gain in enumerate(gains)
            for path, value in (("array", gain), (ours, 1.0))
        )
    )


def test_break_even_is_interpolated_in_logarithms():
    (found,) = break_evens(curve(0.5, 2.0, 8.0))
    assert found.when == "from"
    assert found.size == pytest.approx(10**1.5)
    (found,) = break_evens(curve(0.5, 4.0))
    assert found.size == pytest.approx(10 ** (1 + 1 / 3))


def test_break_even_counts_from_where_it_stays_faster():
    (found,) = break_evens(curve(3.0, 0.5, 2.0, 8.0))
    assert found.size == pytest.approx(10**2.5)


def test_always_and_never_are_told_apart():
    (always,) = break_evens(curve(1.01, 1.5))
    (never,) = break_evens(curve(5.0, 0.99))
    (equal,) = break_evens(curve(1.0, 1.0))
    assert [found.when for found in (always, never, equal)] == ["always", "never", "never"]
    assert always.size is None
    assert never.size is None
    assert (always.smallest, always.largest) == (10, 100)


def test_a_gain_of_exactly_one_is_the_break_even_point():
    (found,) = break_evens(curve(0.5, 1.0, 2.0))
    assert found.size == pytest.approx(100)


def test_one_size_has_no_break_even_and_order_does_not_matter():
    assert break_evens(curve(2.0)) == []
    report = curve(0.5, 2.0, 8.0)
    report.measurements.reverse()
    (found,) = break_evens(report)
    assert found.size == pytest.approx(10**1.5)


def test_of_two_workloads_of_one_size_the_worse_counts():
    report = curve(2.0, 2.0)
    report.measurements += curve(0.5).measurements
    report.measurements[-2:] = [
        measurement(found.path, found.timing, label="other", size=100)
        for found in report.measurements[-2:]
    ]
    (found,) = break_evens(report)
    assert found.when == "never"
