"""The sheets of estimators: time and memory on each table, and how good they become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...measuring.measurement import Measurement
from ..fits import epochs_to, last_score, pairs, same_score
from ..ratios import ratios_of
from ..record import Fitted, Report
from ..words import short_bytes, short_ratio, short_seconds
from .sheet import Sheet, once

OWN = "glorot_uniform"
"""How weights start where nothing is said; biases too."""


def estimators(
    title: str, works: Sequence[Mapping[str, Measurement]], report: Report
) -> Iterator[Sheet]:
    """All of them; the others where estimators were judged."""
    yield _times(title, works, report)
    yield _scores(title, report)
    if starts := _starts(title, report):
        yield starts


def _times(title: str, works: Sequence[Mapping[str, Measurement]], report: Report) -> Sheet:
    """A row a table and path. The time to the same score is that of as many epochs of a `fit`."""
    fits = {(one.data, one.path): one for one in report.fits}
    targets = {ours.data: same_score(ours, theirs) for ours, theirs in pairs(report)}
    rows = []
    for paths in works:
        one = ratios_of(paths)
        for path, found in paths.items():
            data, seconds = found.operation, found.timing.median
            other = one is not None and one.ours is not found
            target, epochs = targets.get(data), None
            if target is not None:
                epochs = epochs_to(fits[data, path.partition(" ")[0]], target)
            rows.append(
                (
                    data,
                    path,
                    short_seconds(seconds),
                    short_ratio(seconds / one.ours.timing.median if one and other else None),
                    "" if epochs is None else str(epochs),
                    "" if epochs is None else short_seconds(epochs * seconds),
                    "" if found.memory is None else short_bytes(found.memory),
                )
            )
    columns = (
        "table",
        "path",
        "an\nepoch",
        "beside\nours",
        "same score:\nepochs",
        "\ntime",
        "peak\nmemory",
    )
    return Sheet("estimators", title, columns, once(rows), words=2)


def _scores(title: str, report: Report) -> Sheet:
    rows = [
        (
            f"{ours.data}, {ours.score}",
            f"{ours.rows} x {ours.columns}",
            str(len(ours.scores[0])),
            str(len(ours.scores)),
            _words(ours),
            _words(theirs),
        )
        for ours, theirs in pairs(report)
    ]
    columns = ("score on held-out rows", "trained on", "epochs", "seeds", "onepass", "sklearn")
    return Sheet("estimators", f"{title}: mean and standard error", columns, rows)


def _starts(title: str, report: Report) -> Sheet | None:
    """The last scores by how weights start; None where no table has several starts."""
    found: dict[str, dict[str, Fitted]] = {}
    for one in report.fits:
        kind, _, init = one.path.partition(", ")
        if kind == "onepass":
            found.setdefault(f"{one.data}, {one.score}", {})[init or OWN] = one
    several = {name: starts for name, starts in found.items() if len(starts) > 1}
    if not several:
        return None
    inits = list(dict.fromkeys(init for starts in several.values() for init in starts))
    rows = [
        (name, *(_words(starts[init]) if init in starts else "" for init in inits))
        for name, starts in several.items()
    ]
    columns = ("score by\nhow weights start", *inits)
    return Sheet("estimators", f"{title}: starts", columns, rows)


def _words(fitted: Fitted) -> str:
    """Mean and standard error: percent of accuracy, R2 as it is."""
    score = last_score(fitted)
    if fitted.score == "accuracy":
        return f"{score.value:.2%} \N{PLUS-MINUS SIGN} {100 * score.error:.2f}"
    return f"{score.value:.3f} \N{PLUS-MINUS SIGN} {score.error:.3f}"
