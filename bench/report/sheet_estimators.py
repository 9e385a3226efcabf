"""The sheet of estimators: time, memory and scores on each table, a row a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..measuring.measurement import Measurement
from .fits import epochs_to, last_score, pairs, same_score
from .ratios import ratios_of
from .record import Report
from .sheet import Sheet, once
from .words import short_bytes, short_ratio, short_seconds


def estimators(title: str, works: Sequence[Mapping[str, Measurement]], report: Report) -> Sheet:
    """A row a table and path. The time to the same score is that of as many epochs of a `fit`."""
    fits = {(one.data, one.path): one for one in report.fits}
    targets = {ours.data: same_score(ours, theirs) for ours, theirs in pairs(report)}
    rows = []
    for paths in works:
        one = ratios_of(paths)
        for path, found in paths.items():
            seconds = found.timing.median
            other = one is not None and one.ours is not found
            table = shown = length = same = ""
            if fitted := fits.get((found.label, path)):
                table = f"{fitted.rows} x {fitted.columns}"
                score, digits = last_score(fitted), 4 if fitted.score == "accuracy" else 3
                shown = f"{score.value:.{digits}f} \N{PLUS-MINUS SIGN} {score.error:.{digits}f}"
                length = f"{len(fitted.scores[0])} x {len(fitted.scores)}"
                target = targets.get(found.label)
                epochs = None if target is None else epochs_to(fitted, target)
                same = "" if epochs is None else short_seconds(epochs * seconds)
            rows.append(
                (
                    f"{found.label}, {table}"
                    if table and table not in found.label
                    else found.label,
                    path,
                    short_seconds(seconds),
                    short_ratio(seconds / one.ours.timing.median if one and other else None),
                    same,
                    "" if found.memory is None else short_bytes(found.memory),
                    shown,
                    length,
                )
            )
    columns = (
        "table",
        "path",
        "an\nepoch",
        "beside\nours",
        "same\nscore",
        "peak\nmemory",
        "score",
        "epochs\nx seeds",
    )
    return Sheet("estimators", title, columns, once(rows), words=2)
