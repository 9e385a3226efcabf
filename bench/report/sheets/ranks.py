"""The sheets of training by several ranks: times, bytes, and both by the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ...limits.data_parallel import memory, sent_bytes
from ...measuring.measurement import Measurement
from ..record import Report
from ..scaling import (
    ALONE,
    APART,
    OVERLAPPED,
    hidden,
    measured_link,
    measured_processor,
    network,
    on_paper,
)
from ..words import short_bytes, short_ratio, short_seconds
from .sheet import Sheet, once


def ranks(
    title: str, works: Sequence[Mapping[str, Measurement]], report: Report
) -> Iterator[Sheet]:
    """All of them; those of what was not measured are empty."""
    yield _times(title, works)
    yield _counts(title, report)
    yield _found(title, works, report)
    yield _paper(title, report)


def _times(title: str, works: Sequence[Mapping[str, Measurement]]) -> Sheet:
    rows = []
    for paths in works:
        alone = paths.get(ALONE)
        for path, found in paths.items():
            seconds, beside = found.timing.median, None
            if alone is not None and found is not alone:
                beside = seconds / alone.timing.median
            rows.append(
                (
                    f"{found.operation}, {found.label}",
                    path,
                    short_seconds(seconds),
                    short_ratio(beside),
                )
            )
    columns = ("what", "path", "time", "beside\nalone")
    return Sheet("ranks", title, columns, once(rows), words=2)


def _counts(title: str, report: Report) -> Sheet:
    """Bytes as they were counted, beside what the formulas say."""
    rows = []
    for one in report.ranks:
        training = replace(network(), parameters=one.size, sharded=one.sharded)
        held = memory(training, one.ranks)
        rows.append(
            (
                f"{one.ranks}{', sharded' * one.sharded}",
                str(one.meetings),
                short_bytes(one.sent),
                short_bytes(sent_bytes(training, one.ranks)),
                short_bytes(one.parameters + one.gradients + one.states + one.scratch),
                short_bytes(held.total),
                short_bytes(one.states),
                short_bytes(one.scratch),
            )
        )
    columns = (
        "ranks",
        "meetings",
        "sent a\nstep",
        "by\nformula",
        "held",
        "by\nformula",
        "of it\nstates",
        "\nscratch",
    )
    return Sheet("ranks", f"{title}: bytes of each rank", columns, rows)


def _found(title: str, works: Sequence[Mapping[str, Measurement]], report: Report) -> Sheet:
    """What the model takes, and which part of an exchange goes on beside products."""
    link, core = measured_link(report), measured_processor(report)
    rows = []
    if link is not None:
        rows.append(("link: alpha", short_seconds(link.alpha)))
        rows.append(("link: beta", f"{link.beta / 1e9:.2g} GB/s"))
    if core is not None:
        rows.append(("a core: matrix products", f"{core.rate / 1e9:.3g} GFLOP/s"))
        rows.append(("a core: memory", f"{core.bandwidth / 1e9:.3g} GB/s"))
    for paths in works:
        seconds = {path: found.timing.median for path, found in paths.items()}
        rows += [
            (f"overlap, {way}: part hidden", f"{hidden(seconds, way):.2f}")
            for way in OVERLAPPED
            if seconds.keys() >= {way, *APART}
        ]
    return Sheet("ranks", f"{title}: link, core, overlap", ("figure", "value"), rows)


def _paper(title: str, report: Report) -> Sheet:
    rows = [
        (
            one.what,
            one.path,
            short_seconds(one.measured),
            short_seconds(one.model),
            short_ratio(one.measured / one.model),
        )
        for one in on_paper(report)
    ]
    columns = ("what", "path", "measured", "model", "measured\n/ model")
    return Sheet("ranks", f"{title}: the model", columns, once(rows), words=2)
