"""What is promised of training by several ranks, and what is only told of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from ..cases.ranks import LABEL
from ..cases.sizes import RANKS_OVERLAPPED
from ..limits.data_parallel import memory, sent_bytes
from ..measuring.measurement import Measurement
from ..report.record import Report
from ..report.scaling import OVERLAPPED, hidden, network
from .promise import Paths, Promise, ratio, row

_BY_COUNT = partial(Promise, workloads=(), value=ratio("", ""))


def rank_promises() -> Iterator[Promise]:
    """Those of times."""
    step = (("ranks", "training step", LABEL),)
    yield Promise("step: 1 rank / alone", step, ratio("1 rank", "alone"), 1.03, True)
    for path in ("2 ranks", "2 ranks, sharded"):
        yield Promise(f"step: {path} / alone", step, ratio(path, "alone"), None, True)
    for label in RANKS_OVERLAPPED:
        at = (("ranks", "overlap", label),)
        for way in OVERLAPPED:
            yield Promise(f"overlap, {way}: part hidden", at, _hidden(way), None)


def counted_promises(report: Report) -> Iterator[dict[str, Any]]:
    """Bytes by count over bytes by formula: what is cut into parts is cut at multiples of a few
    elements, so that the last part may be longer."""
    for one in report.ranks:
        training = replace(network(), parameters=one.size, sharded=one.sharded)
        what = f"{one.ranks} ranks{', sharded' * one.sharded}"
        sent = one.sent / sent_bytes(training, one.ranks)
        yield row(_BY_COUNT(f"{what}: sent / formula", need=1.001, at_most=True), sent, {})
        states = one.states / memory(training, one.ranks).states
        yield row(_BY_COUNT(f"{what}: states / formula", need=1.001, at_most=True), states, {})


def _hidden(way: str) -> Any:
    def value(paths: Paths) -> tuple[float, list[Measurement]]:
        seconds = {path: one.timing.median for path, one in paths.items()}
        return hidden(seconds, way), list(paths.values())

    return value
