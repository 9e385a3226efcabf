"""Two reports side by side: verdicts come from the spread, and B beside A mirrors A beside B."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from cases.reports import full_report, made_timing, measurement, small_report
from hypothesis import given
from hypothesis import strategies as st
from onepass.bench.measuring.timing import Timing, timing
from onepass.bench.report.compare import compare, median_interval, only_in, print_comparison
from rich.console import Console


def report(*blocks, path="numba"):
    return small_report(measurement(path, timing([[value] * 5 for value in blocks])))


def verdict(a, b, **options):
    (found,) = compare(a, b, **options)
    return found


def noisy(median, noise, seed):
    return small_report(measurement("numba", made_timing(median, noise, seed=seed)))


def test_twice_as_fast_is_faster_and_back_is_slower():
    a, b = noisy(2e-3, 0.05, 0), noisy(1e-3, 0.05, 1)
    found = verdict(a, b)
    assert found.verdict == "faster"
    assert 0.4 < found.low < 0.5 < found.high < 0.6
    assert found.ratio == pytest.approx(0.5, rel=0.1)
    assert (found.a_median, found.b_median) == pytest.approx((2e-3, 1e-3), rel=0.1)
    assert verdict(b, a).verdict == "slower"


@given(seed=st.integers(0, 10**6))
def test_noise_of_up_to_two_percent_is_the_same(seed):
    a, b = np.random.default_rng(seed).uniform(0.98e-3, 1.02e-3, (2, 9))
    assert verdict(report(*a), report(*b)).verdict == "same"


def test_wide_noise_is_unclear_even_where_medians_differ():
    wide = (0.5, 0.7, 0.9, 1.0, 1.2, 1.5, 1.9)
    assert verdict(report(*wide), report(*(1.2 * t for t in wide))).verdict == "unclear"


def test_a_clear_difference_within_the_tolerance_is_the_same():
    a, b = report(*[1.0] * 9), report(*[1.03] * 9)
    assert verdict(a, b).verdict == "same"
    assert verdict(a, b, tolerance=0.01).verdict == "slower"
    assert verdict(b, a, tolerance=0.01).verdict == "faster"


def test_an_interval_that_reaches_out_of_the_tolerance_is_unclear():
    a = report(*[1.0] * 9)
    b = report(1.0, 1.01, 1.01, 1.02, 1.03, 1.04, 1.09, 1.09, 1.1)
    assert verdict(a, b).verdict == "unclear"


def test_one_block_tells_nothing():
    for blocks in ((), (0.5,)):
        few = small_report(measurement("numba", Timing(0.5, 0.5, 0.5, 10, blocks)))
        found = verdict(report(*[1.0] * 9), few)
        assert (found.verdict, found.low, found.high) == ("unclear", 0.0, math.inf)
        assert verdict(few, report(*[1.0] * 9)).verdict == "unclear"
        assert verdict(few, few).verdict == "unclear"


def test_two_blocks_count_by_their_ends():
    found = verdict(report(1.0, 1.2), report(0.3, 0.4))
    assert (found.low, found.high) == pytest.approx((0.3 / 1.2, 0.4 / 1.0))
    assert found.verdict == "faster"


@pytest.mark.parametrize(
    ("n", "low", "high"),
    [
        (2, 1, 2),
        (4, 1, 4),  # 87.5 %: too little, but there is no wider pair
        (5, 1, 5),  # 93.75 %
        (7, 1, 7),  # 2..6 would cover 87.5 %
        (8, 1, 8),  # 2..7 covers 92.97 %
        (9, 2, 8),  # 96.1 %
        (15, 4, 12),  # 96.5 %
        (20, 6, 15),  # 95.9 %; 7..14 covers 88.5 %
    ],
)
def test_median_interval(n, low, high):
    shuffled = np.random.default_rng(n).permutation(np.arange(1, n + 1)).tolist()
    assert median_interval(shuffled) == (low, high)


@pytest.mark.parametrize("n", [5, 9, 15])
def test_median_interval_covers_what_it_says_and_no_narrower_pair_does(n):
    draw = np.sort(np.random.default_rng(0).exponential(size=(40_000, n)), axis=1)
    low, high = median_interval(list(range(n)))
    median = math.log(2)

    def coverage(k):
        return np.mean((draw[:, k] <= median) & (median <= draw[:, n - 1 - k]))

    assert high == n - 1 - low
    assert coverage(low) > 0.93 - 0.005
    assert coverage(low + 1) < 0.93


blocks = st.lists(st.floats(1e-6, 1e3), min_size=0, max_size=12)


def of(values):
    median = float(np.median(values)) if values else 1.0
    return small_report(measurement("numba", Timing(median, median, median, 1, tuple(values))))


@given(values=blocks)
def test_a_report_beside_itself_is_never_faster_or_slower(values):
    assert verdict(of(values), of(values)).verdict in ("same", "unclear")


@given(left=blocks, right=blocks, tolerance=st.sampled_from([0.0, 0.05, 0.3]))
def test_swapping_swaps_faster_and_slower(left, right, tolerance):
    there = verdict(of(left), of(right), tolerance=tolerance)
    back = verdict(of(right), of(left), tolerance=tolerance)
    mirror = {"faster": "slower", "slower": "faster"}
    assert back.verdict == mirror.get(there.verdict, there.verdict)
    if len(left) > 1 and len(right) > 1:
        assert back.low == pytest.approx(1 / there.high)


@given(base=st.floats(1e-6, 1.0), ratio=st.floats(1.001, 1.2))
def test_the_tolerance_is_the_same_both_ways(base, ratio):
    a, b = of([base] * 9), of([base * ratio] * 9)
    there, back = verdict(a, b).verdict, verdict(b, a).verdict
    assert (there, back) in (("same", "same"), ("slower", "faster"))


@pytest.mark.parametrize("tolerance", [-0.1, math.nan, math.inf])
def test_a_bad_tolerance_is_refused(tolerance):
    with pytest.raises(ValueError, match=r"tolerance is .*expected a finite number >= 0"):
        compare(report(1.0), report(1.0), tolerance)


def test_measurements_are_matched_by_all_that_names_them():
    a, b = full_report(gpu=True), full_report()
    b.measurements.reverse()
    names = [found.name for found in compare(a, b)]
    assert names == [found.name for found in a.measurements if found.device == "cpu"]
    assert only_in(b, a) == []
    gone = only_in(a, b)
    assert len(gone) == len(a.measurements) - len(b.measurements)
    assert all("cuda:0" in name for name in gone)


def printed(tmp_path, a, b):
    a.write(tmp_path / "a.json")
    b.write(tmp_path / "b.json")
    console = Console(width=80, file=io.StringIO())
    found = print_comparison(tmp_path / "a.json", tmp_path / "b.json", console)
    return found, console.file.getvalue()


def test_the_printed_comparison_fits_and_counts(tmp_path):
    a = small_report(
        measurement("numba", made_timing(2e-3)),
        measurement("array", made_timing(1e-3)),
        measurement("tuned", made_timing(1e-3)),
        measurement("limit", 1.0),
    )
    b = small_report(
        measurement("numba", made_timing(1e-3)),
        measurement("array", made_timing(2e-3)),
        measurement("tuned", made_timing(1e-3)),
        measurement("torch [new] " + 8 * "longer ", 1.0),
    )
    found, text = printed(tmp_path, a, b)
    assert [one.verdict for one in found] == ["faster", "slower", "same"]
    assert "B beside A: 1 faster, 1 slower, 1 same, 0 unclear." in text
    table = text.partition("\nB / A: below 1, B is faster; above 1, B is slower.\n")[2]
    line = next(line for line in table.splitlines() if line.rstrip().endswith("faster"))
    assert line.split()[-7:-2] == ["2.0", "ms", "1.0", "ms", "0.50"]
    assert "Only A has:\n  steps adam 1e6 float32 cpu limit" in text
    assert "Only B has:\n  steps adam 1e6 float32 cpu torch [new]" in text
    assert "Not the code alone differs" not in text


def test_lines_fit_80_columns(tmp_path):
    _, text = printed(tmp_path, full_report(gpu=True), full_report(gpu=True))
    body = text.partition("B / A: below 1")[2]
    assert max(map(len, body.splitlines())) <= 80
    assert "…" not in body
    assert "(32, 56, 56, 64)," in body


def test_another_machine_or_version_is_told_above_the_table(tmp_path):
    a = full_report()
    b = full_report()
    b.hardware = ["cpu: Other, 64 core(s)"]
    b.versions = {**a.versions, "numpy": "2.5.0", "numba": "0.69"}
    b.mode = "full"
    _, text = printed(tmp_path, a, b)
    above = " ".join(text.partition("B / A: below 1")[0].split())
    assert "cpu: Some Processor, 2 core(s) / cpu: Other, 64 core(s)" in above
    assert "numpy: 2.4.6 / 2.5.0" in above
    assert "numba: none / 0.69" in above
    assert "mode: default / full" in above
    assert "python:" not in above


def test_nothing_in_common_is_said(tmp_path):
    found, text = printed(tmp_path, report(1.0, path="numba"), report(1.0, path="array"))
    assert found == []
    assert "A and B have no measurement in common." in text


def test_bad_files_give_the_readers_errors(tmp_path):
    good = tmp_path / "good.json"
    small_report().write(good)
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(ValueError, match=r"bad\.json is not a result of `onepass bench`"):
        print_comparison(good, bad, Console(file=io.StringIO()))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        print_comparison(tmp_path / "nowhere", good, Console(file=io.StringIO()))
