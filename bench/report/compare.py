"""Two reports side by side: what became faster, by the spread of both and not by two numbers.

B / A below 1 means that B is faster. The spread is that of the blocks within each run: a machine
that was slower throughout one run shows as a difference too, so a surprise deserves a second run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..measuring.measurement import Measurement
from ..measuring.timing import Timing
from .record import Report, read_report
from .words import short_seconds

COVERAGE = 0.93
"""Of the interval of a median, at least."""


@dataclass(frozen=True)
class Verdict:
    """One measurement that both reports have.

    Attributes:
        a_median, b_median: seconds a call.
        ratio: b_median / a_median; below 1: B is faster.
        low, high: where that ratio lies, by the blocks of both.
        verdict: on B, beside A.
    """

    name: str
    a_median: float
    b_median: float
    ratio: float
    low: float
    high: float
    verdict: Literal["faster", "slower", "same", "unclear"]


def median_interval(blocks: Sequence[float]) -> tuple[float, float]:
    """Where the median lies: the narrowest symmetric pair of order statistics that covers enough.

    The chance that fewer than k of n values lie below the median is binomial, whatever their
    distribution. With fewer than 5 blocks no pair covers 93 %, and the ends are taken; from fewer
    than 2 nothing can be said: (0, inf).
    """
    if len(blocks) < 2:
        return 0.0, math.inf
    values, n = sorted(blocks), len(blocks)
    rank, outside = 1, 1 / 2**n
    while rank + 1 <= n - rank:
        wider = outside + math.comb(n, rank) / 2**n
        if 1 - 2 * wider < COVERAGE:
            break
        rank, outside = rank + 1, wider
    return values[rank - 1], values[n - rank]


def compare(a: Report, b: Report, tolerance: float = 0.05) -> list[Verdict]:
    """The verdict on every measurement that both reports have, in A's order.

    Args:
        a, b: the reports; B is judged beside A.
        tolerance: what counts as the same: up to 1 + tolerance times as long, either way.

    Raises:
        ValueError: `tolerance` is negative or not finite.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance is {tolerance}; expected a finite number >= 0, such as 0.05")
    others = {found.name: found for found in b.measurements}
    return [
        _judge(found, others[found.name], 1 + tolerance)
        for found in a.measurements
        if found.name in others
    ]


def only_in(a: Report, b: Report) -> list[str]:
    """The names of the measurements of `a` that `b` lacks."""
    others = {found.name for found in b.measurements}
    return [found.name for found in a.measurements if found.name not in others]


def differences(a: Report, b: Report) -> list[str]:
    """What else differs: the mode, the hardware, versions. One line each."""
    lines = [f"mode: {a.mode} / {b.mode}"] if a.mode != b.mode else []
    if a.hardware != b.hardware:
        lines.append(f"hardware: {', '.join(a.hardware)} / {', '.join(b.hardware)}")
    for name in dict.fromkeys((*a.versions, *b.versions)):
        left, right = a.versions.get(name, "none"), b.versions.get(name, "none")
        if left != right:
            lines.append(f"{name}: {left} / {right}")
    return lines


def print_comparison(
    path_a: str | Path, path_b: str | Path, console: Console, tolerance: float = 0.05
) -> list[Verdict]:
    """Read two files, print how B compares with A, and return the verdicts.

    Raises:
        OSError, ValueError: as `read_report` does for either file.
    """
    a, b = read_report(path_a), read_report(path_b)
    verdicts = compare(a, b, tolerance)
    for letter, report, path in (("A", a, path_a), ("B", b, path_b)):
        console.print(Text(f"{letter}: {path} ({report.date}, {report.mode})"))
    if lines := differences(a, b):
        console.print(Text("\nNot the code alone differs between A and B (A / B):", "bold"))
        for line in lines:
            console.print(Text(f"  {line}"))
    if verdicts:
        console.print(Text("\nB / A: below 1, B is faster; above 1, B is slower.", "bold"))
        console.print(_table(verdicts))
    else:
        console.print(Text("\nA and B have no measurement in common."))
    for letter, names in (("A", only_in(a, b)), ("B", only_in(b, a))):
        if names:
            console.print(Text(f"\nOnly {letter} has:"))
            for name in names:
                console.print(Text(f"  {name}"))
    counts = Counter(found.verdict for found in verdicts)
    told = ", ".join(f"{counts[word]} {word}" for word in ("faster", "slower", "same", "unclear"))
    console.print(Text(f"\nB beside A: {told}.", "bold"))
    return verdicts


def _judge(a: Measurement, b: Measurement, factor: float) -> Verdict:
    """Products, not quotients, so that B beside A is exactly the reverse of A beside B."""
    (a_low, a_high), (b_low, b_high) = _interval(a.timing), _interval(b.timing)
    a_median, b_median = a.timing.median, b.timing.median
    verdict: Literal["faster", "slower", "same", "unclear"] = "unclear"
    if b_high <= a_low * factor and a_high <= b_low * factor:
        verdict = "same"
    elif b_high < a_low and b_median * factor < a_median:
        verdict = "faster"
    elif a_high < b_low and a_median * factor < b_median:
        verdict = "slower"
    low, high = b_low / a_high, b_high / a_low if a_low > 0 else math.inf
    return Verdict(a.name, a_median, b_median, b_median / a_median, low, high, verdict)


def _interval(timing: Timing) -> tuple[float, float]:
    return median_interval(timing.blocks)


def _table(verdicts: list[Verdict]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measurement", overflow="fold")
    for column in ("time A", "time B", "B / A", "between", "B is"):
        table.add_column(column, justify="right", no_wrap=True)
    styles = {"faster": "green", "slower": "red", "same": "", "unclear": "dim"}
    for found in verdicts:
        unknown = math.isinf(found.high)
        table.add_row(
            Text(found.name),
            Text(short_seconds(found.a_median)),
            Text(short_seconds(found.b_median)),
            Text(f"{found.ratio:.2f}"),
            Text("unknown" if unknown else f"{found.low:.2f}-{found.high:.2f}"),
            Text(found.verdict, styles[found.verdict]),
        )
    return table
