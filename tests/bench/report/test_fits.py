"""What trainings of estimators say: means and errors, epochs to the same score, their sheets."""

from __future__ import annotations

import math

import pytest
from cases.reports import measurement, small_report
from onepass.bench.promises.promises import judged
from onepass.bench.report.fits import Mean, epochs_to, last_score, pairs, same_score
from onepass.bench.report.record import Fitted
from onepass.bench.report.sheets.all_sheets import sheets


def fitted(path, *scores, data="wine", score="accuracy"):
    return Fitted(data, path, 133, 13, score, 7_000, 27_000, [list(curve) for curve in scores])


def test_the_last_score_has_the_standard_error_of_its_mean():
    found = last_score(fitted("onepass", [0.1, 0.7], [0.2, 0.8], [0.3, 0.9]))
    assert found.value == pytest.approx(0.8)
    assert found.error == pytest.approx(0.1 / math.sqrt(3))
    assert last_score(fitted("onepass", [0.5])) == Mean(0.5, math.inf)


def test_epochs_are_counted_by_the_mean_over_seeds():
    curves = fitted("onepass", [0.2, 0.6, 0.9], [0.4, 0.8, 0.9])
    assert [epochs_to(curves, score) for score in (0.1, 0.65, 0.75, 0.95)] == [1, 2, 3, None]


def test_the_same_score_is_near_the_smaller_one_and_none_where_nothing_was_learnt():
    ours, theirs = fitted("onepass", [0.9], [0.7]), fitted("sklearn", [0.6], [0.4])
    assert same_score(ours, theirs) == same_score(theirs, ours) == pytest.approx(0.98 * 0.5)
    assert same_score(ours, fitted("sklearn", [-0.1])) is None


def test_pairs_are_of_what_has_both():
    ours, theirs = fitted("onepass", [0.9]), fitted("sklearn", [0.8])
    report = small_report(fits=[theirs, fitted("onepass", [0.9], data="digits"), ours])
    assert pairs(report) == [(ours, theirs)]


def of_estimators(path, seconds, **changed):
    return measurement(
        path,
        seconds,
        **{"section": "estimators", "operation": "wine", "label": "an epoch", **changed},
    )


def test_sheets_tell_times_memory_and_scores():
    report = small_report(
        of_estimators("onepass", 1e-3, memory=203_456),
        of_estimators("sklearn", 4e-3, memory=1_500_000),
        of_estimators("sklearn one thread", 3e-3),
        fits=[
            fitted("onepass", [0.5, 0.9, 1.0], [0.5, 0.9, 0.98]),
            fitted("sklearn", [0.5, 0.6, 0.9], [0.5, 0.7, 0.9]),
        ],
    )
    times, scores = [sheet for sheet in sheets(report) if sheet.section == "estimators"]
    assert [tuple(row) for row in times.rows] == [
        ("wine", "onepass", "1.0 ms", "", "2", "2.0 ms", "203 kB"),
        ("", "sklearn", "4.0 ms", "4.00 x", "3", "12 ms", "1.5 MB"),
        ("", "sklearn one thread", "3.0 ms", "3.00 x", "3", "9.0 ms", ""),
    ]
    assert [tuple(row) for row in scores.rows] == [
        ("wine, accuracy", "133 x 13", "3", "2", "99.00% ± 1.00", "90.00% ± 0.00")
    ]


def test_times_alone_are_a_sheet():
    (sheet,) = sheets(small_report(of_estimators("onepass", 1e-3), of_estimators("sklearn", 4e-3)))[
        :1
    ]
    assert [tuple(row) for row in sheet.rows] == [
        ("wine", "onepass", "1.0 ms", ""),
        ("", "sklearn", "4.0 ms", "4.00 x"),
    ]


def figures(report):
    return {row["figure"]: (round(row["value"], 6), row["reached"]) for row in judged(report)}


def test_epochs_are_judged_beside_the_quicker_of_scikit_learns():
    rows = [of_estimators("onepass", 1e-3), of_estimators("sklearn", 4e-3)]
    assert figures(small_report(*rows)) == {}  # not known, how quick it is at best
    slower = of_estimators("sklearn one thread", 5e-3)
    quicker = of_estimators("sklearn one thread", 1.9e-3)
    assert figures(small_report(*rows, slower)) == {"wine: epochs, MLP / Net": (4.0, True)}
    assert figures(small_report(*rows, quicker)) == {"wine: epochs, MLP / Net": (1.9, False)}


@pytest.mark.parametrize(("memory", "reached"), [(37_000, True), (37_300, False)])
def test_memory_of_sparse_rows_is_judged_with_the_rows_themselves(memory, reached):
    """1.3 x (7,000 + 27,000) = 44,200."""
    text = "text, sparse"
    report = small_report(
        of_estimators("onepass", 1e-3, operation=text, memory=memory),
        fits=[fitted("onepass", [0.9], data=text)],
    )
    ((figure, (value, kept)),) = figures(report).items()
    assert (figure, kept) == ("text, sparse: peak / rows + network", reached)
    assert value == pytest.approx((7_000 + memory) / 34_000, abs=1e-6)


@pytest.mark.parametrize(("behind", "reached"), [(0.0, True), (0.014, True), (0.015, False)])
def test_scores_may_be_behind_by_a_standard_error_of_the_difference(behind, reached):
    """Both have a deviation of 0.0173 over 3 seeds, an error of 0.01: 0.01414 together."""
    theirs = [0.9 - 0.0173205, 0.9, 0.9 + 0.0173205]
    report = small_report(
        fits=[
            fitted("onepass", *([score - behind] for score in theirs)),
            fitted("sklearn", *([score] for score in theirs)),
        ]
    )
    ((figure, (value, kept)),) = figures(report).items()
    assert (figure, kept) == ("wine: accuracy behind beyond an error, points", reached)
    assert value == pytest.approx(100 * (behind - 0.0141421), abs=1e-3)


def test_two_seeds_judge_no_score():
    fits = [fitted(path, [0.5], [0.6]) for path in ("onepass", "sklearn")]
    assert figures(small_report(fits=fits)) == {}


def test_a_sheet_tells_what_each_start_comes_to():
    fits = [
        fitted("onepass", [0.5, 0.9], [0.5, 0.9]),
        fitted("sklearn", [0.9], [0.9]),
        fitted("onepass, he", [0.5, 0.7], [0.5, 0.9]),
        fitted("onepass", [0.8], data="digits"),
    ]
    found = sheets(small_report(of_estimators("onepass", 1e-3), fits=fits))
    (starts,) = [sheet for sheet in found if sheet.title.endswith("starts")]
    assert list(starts.columns)[1:] == ["glorot_uniform", "he"]
    assert [tuple(row) for row in starts.rows] == [
        ("wine, accuracy", "90.00% ± 0.00", "80.00% ± 10.00")
    ]
