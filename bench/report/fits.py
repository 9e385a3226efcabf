"""What trainings of estimators say together: scores over seeds, and how long the same one takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev

from .record import Fitted, Report

NEAR = 0.98
"""Of the smaller one of the two last scores: the score that both reach."""


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, and its standard error: the deviation over the root of their number."""

    value: float
    error: float


def last_score(fitted: Fitted) -> Mean:
    """After the last epoch."""
    last = [curve[-1] for curve in fitted.scores]
    return Mean(fmean(last), stdev(last) / math.sqrt(len(last)) if len(last) > 1 else math.inf)


def epochs_to(fitted: Fitted, score: float) -> int | None:
    """After how many epochs the mean over seeds is first as good; None: after none of them."""
    means = map(fmean, zip(*fitted.scores, strict=True))
    return next((k for k, mean in enumerate(means, 1) if mean >= score), None)


def same_score(ours: Fitted, theirs: Fitted) -> float | None:
    """The score by which the two are compared; None where one is no better than nothing."""
    smaller = min(last_score(ours).value, last_score(theirs).value)
    return NEAR * smaller if smaller > 0 else None


def pairs(report: Report) -> list[tuple[Fitted, Fitted]]:
    """Ours and scikit-learn's on each data set that has both."""
    found = {(one.data, one.path): one for one in report.fits}
    names = dict.fromkeys(one.data for one in report.fits)
    both = [(found.get((data, "onepass")), found.get((data, "sklearn"))) for data in names]
    return [(ours, theirs) for ours, theirs in both if ours and theirs]
