"""What a run of the benchmarks found, as it is written to JSON and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ...nets.saving.atomic_write import target_of, write_atomically
from ..measuring.measurement import Measurement
from .from_json import from_json
from .to_json import to_json

FORMAT = 1
"""Of the file. It goes up when a field changes its meaning."""


@dataclass(frozen=True)
class Curve:
    """A training run, an entry an epoch.

    Attributes:
        data: "digits" or "mnist".
        path: "onepass", "array" or "torch fused".
        batch: samples an update.
        loss, accuracy: on the training batches as they came.
        test_accuracy: on the held-out part, after each epoch.
        seconds: of the training, without the evaluation.
    """

    data: str
    path: str
    batch: int
    loss: list[float]
    accuracy: list[float]
    test_accuracy: list[float]
    seconds: list[float]


@dataclass(frozen=True)
class Fitted:
    """An estimator's trainings on one data set.

    Attributes:
        data: the operation of its measurements.
        path: "onepass" or "sklearn".
        rows, columns: what it was trained on.
        score: "accuracy" or "R2", what the scores are.
        data_bytes: what the rows take.
        network_bytes: what parameters, gradients and the optimizer's two states take.
        scores: for each seed the scores on held-out rows, after each epoch.
    """

    data: str
    path: str
    rows: int
    columns: int
    score: str
    data_bytes: int
    network_bytes: int
    scores: list[list[float]]


@dataclass(frozen=True)
class Ranked:
    """What one of several ranks that train a network together sends and holds: the most of any.

    Attributes:
        ranks: how many there are.
        sharded: whether each has a part of the optimizer's states.
        size: parameters of the network.
        sent: bytes in a step, but for what is told in meetings.
        meetings: of all ranks, in a step.
        parameters, gradients, states, scratch: bytes held; scratch is for the sums of its part.
    """

    ranks: int
    sharded: bool
    size: int
    sent: int
    meetings: int
    parameters: int
    gradients: int
    states: int
    scratch: int


@dataclass(frozen=True)
class Skipped:
    """A path that could not run, and why."""

    section: str
    path: str
    reason: str


@dataclass
class Report:
    """One run.

    Attributes:
        date: ISO date.
        mode: "quick", "default" or "full".
        seconds: how long the run took.
        versions: of Python, this library and what it stands on.
        hardware: what `describe_devices` says, and the number of cores.
        figures: ratios that were promised: see promises/promise.py.
    """

    date: str
    mode: str
    versions: dict[str, str]
    hardware: list[str]
    seconds: float = 0.0
    measurements: list[Measurement] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    fits: list[Fitted] = field(default_factory=list)
    ranks: list[Ranked] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def workloads(self) -> Iterator[dict[str, Measurement]]:
        """The measurements of each workload by path, in the order in which workloads came first."""
        groups: dict[tuple[str, ...], dict[str, Measurement]] = {}
        for found in self.measurements:
            groups.setdefault(found.workload, {})[found.path] = found
        yield from groups.values()

    def write(self, path: str | Path) -> None:
        """Write the JSON file, whole or not at all: each measurement, curve and figure a line.

        Raises:
            OSError: it can't be written.
        """
        text = to_json({"format": FORMAT, **asdict(self)})
        write_atomically(target_of(path), text.encode())


def read_report(path: str | Path) -> Report:
    """The report in a file that `Report.write` made, or in one of `make gpu`, which holds one.

    Raises:
        OSError: there is no such file.
        ValueError: it is not such a file, damaged, or of a newer format.
    """
    written = Path(path).read_bytes()
    try:
        content = json.loads(written.decode("utf-8"))
        content = content.get("benchmark", content)
        number = content.pop("format")
        for later in ("fits", "ranks"):  # there were none before 2026-11-30
            content.setdefault(later, [])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a result of `onepass bench`; expected a file that --json wrote"
        ) from error
    if number != FORMAT:
        raise ValueError(f"{path} has format {number}; this version reads format {FORMAT}")
    try:
        report = from_json(content, Report, "report")
        _check_numbers(report)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return report


def _check_numbers(report: Report) -> None:
    """What types don't say: times above 0, curves of one length, figures that can be shown."""
    if not 0 <= report.seconds < math.inf:
        raise ValueError(f"report.seconds is {report.seconds}; expected a number of 0 or more")
    for found in report.measurements:
        times = found.timing.median, found.timing.low, found.timing.high, *found.timing.blocks
        for seconds in times:
            if not 0 < seconds < math.inf:
                raise ValueError(f"{found.name} took {seconds} s; expected a number above 0")
        if min(found.size, found.bytes, found.timing.calls) < 0:
            raise ValueError(f"{found.name} has a size, bytes or calls below 0")
    for curve in report.curves:
        if not all(0 <= seconds < math.inf for seconds in curve.seconds):
            raise ValueError(f"the curve of {curve.path} has seconds that are below 0 or no number")
        epochs = curve.loss, curve.accuracy, curve.test_accuracy, curve.seconds
        if len(set(map(len, epochs))) > 1:
            raise ValueError(f"the curve of {curve.path} has lists of different lengths")
    for fitted in report.fits:
        if min(fitted.rows, fitted.columns, fitted.data_bytes, fitted.network_bytes) < 1:
            raise ValueError(f"the fits of {fitted.data} by {fitted.path} have a size below 1")
        if len({*map(len, fitted.scores)} | {0}) != 2:
            raise ValueError(
                f"the fits of {fitted.data} by {fitted.path} have no scores, or lists of different "
                "lengths"
            )
        if not all(map(math.isfinite, chain(*fitted.scores))):
            raise ValueError(
                f"the fits of {fitted.data} by {fitted.path} have scores that are no number"
            )
    for ranked in report.ranks:
        if min(asdict(ranked).values()) < 0 or min(ranked.ranks, ranked.size) < 1:
            raise ValueError(f"what {ranked.ranks} ranks send and hold has a number below 0")
    for k, one in enumerate(report.figures):
        from_json(one.get("figure"), str, f"report.figures[{k}].figure")
        from_json(one.get("value"), float, f"report.figures[{k}].value")
        from_json(one.get("reached"), bool, f"report.figures[{k}].reached")
