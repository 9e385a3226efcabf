"""What measured ranks say together: this machine's link and processor, and steps by the model.

The model and its formulas are in limits/data_parallel.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..cases.ranks import BATCH, LABEL, PARAMETERS, WIDTHS
from ..cases.steps import CASES
from ..limits.data_parallel import (
    Link,
    Processor,
    Training,
    dense_flops,
    link_from,
    meeting_seconds,
    ring_seconds,
    step_seconds,
)
from .record import Report

Paths = Mapping[str, float]
"""Seconds by path."""

PAIR = "2 ranks"
"""The path by which links are measured."""

APART = "exchange", "compute", "one after another"
OVERLAPPED = "at once", "polled"
"""The paths of an exchange and a computation: apart, and at the same time; "polled": MPI is called
between two pieces of the computation, so that it can go on with the exchange."""

ALONE, ONE_THREAD = "alone", "alone, one thread"
_FITTED = "1e6"  # parameters of the exchange by which beta is found: of about the network's bytes
_NETWORK, _LARGE = "the network", "1e7"  # updates: by which a step is told, and large networks'


@dataclass(frozen=True)
class OnPaper:
    """What was measured, in seconds, and what the model says."""

    what: str
    path: str
    measured: float
    model: float


def measured_link(report: Report) -> Link | None:
    """Between two processes of the machine; None where a report has not measured it."""
    meeting = _paths(report, "meeting").get(PAIR)
    exchanged = _paths(report, "exchange", _FITTED).get(PAIR)
    if meeting is None or exchanged is None:
        return None
    total = 4 * int(float(_FITTED))
    source = "fitted to a meeting and an exchange of 1e6 parameters between two ranks"
    return link_from(2, meeting, exchanged, total, "two processes of one machine", source)


def measured_processor(report: Report, large: bool = True) -> Processor | None:
    """A core of the machine; its memory's speed is that of an update far beyond the caches or,
    where not `large`, of the network's. None where a report has not measured it."""
    seconds = _paths(report, "training step", LABEL).get(ONE_THREAD)
    small = _paths(report, "update", _NETWORK).get(ONE_THREAD)
    update = _paths(report, "update", _LARGE).get(ONE_THREAD) if large else small
    if seconds is None or small is None or update is None:
        return None
    size = int(float(_LARGE)) if large else PARAMETERS
    rate = dense_flops(WIDTHS, BATCH) / max(seconds - small, 0.1 * seconds)
    bandwidth = size * CASES["adam"].bytes_per_element() / update
    return Processor("a core of this machine", rate, bandwidth, "a training step on one thread")


def on_paper(report: Report) -> list[OnPaper]:
    """Exchanges and steps, measured and by the model; empty where what it takes is missing."""
    link, processor = measured_link(report), measured_processor(report, large=False)
    if link is None or processor is None:
        return []
    rows = []
    for one in report.measurements:
        if one.section != "ranks" or one.path.split()[0] not in ("2", "4"):
            continue
        ranks, model = int(one.path.split()[0]), None
        if one.operation == "meeting":
            model = meeting_seconds(link, ranks)
        elif one.operation == "exchange":
            model = 2 * ring_seconds(link, ranks, 4 * one.size)
        elif one.operation == "training step":
            training = replace(network(), sharded="sharded" in one.path)
            model = step_seconds(training, processor, link, ranks).total
        if model is not None:
            what = f"{one.operation}, {one.label}"
            rows.append(OnPaper(what, one.path, one.timing.median, model))
    return rows


def network() -> Training:
    """The network that ranks train, for the model."""
    return Training(PARAMETERS, dense_flops(WIDTHS, BATCH))


def hidden(paths: Paths, way: str) -> float:
    """Which part of the shorter one of exchange and computation is hidden by the longer one."""
    saved = paths["one after another"] - paths[way]
    return saved / min(paths["exchange"], paths["compute"])


def _paths(report: Report, operation: str, label: str | None = None) -> dict[str, float]:
    return {
        one.path: one.timing.median
        for one in report.measurements
        if (one.section, one.operation) == ("ranks", operation) and label in (None, one.label)
    }
