"""What the measurements of one workload say together: gain, share of the limit, peers, break-even.

Three words: the gain is how many times as long the array path takes, the share of the limit is how
near a path comes to loads and stores without arithmetic, the peer is the best of the other
libraries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..measuring.measurement import Measurement
from .record import Report

OURS = ("numba", "cupy", "numba-cuda", "flat", "separate", "onepass", "captured")
"""The paths of this library; the first that was measured stands for it."""

PEERS = ("torch", "deepspeed", "jax")
"""What the names of other libraries' paths begin with."""


@dataclass(frozen=True)
class Ratios:
    """The paths of one workload, and what they say about `ours`. None: that path was not measured.

    Attributes:
        paths: every measurement of the workload by path.
        ours: the measurement that stands for this library.
        peer: the fastest path of another library.
    """

    paths: Mapping[str, Measurement]
    ours: Measurement
    peer: Measurement | None

    @property
    def gain(self) -> float | None:
        """Time of the array path / ours."""
        return self._factor("array", self.ours.path)

    @property
    def share(self) -> float | None:
        """Time of the limit / ours: 1 is as fast as memory allows."""
        return self._factor("limit", self.ours.path)

    @property
    def against_peer(self) -> float | None:
        """Time of the fastest peer / ours."""
        return None if self.peer is None else self._factor(self.peer.path, self.ours.path)

    @property
    def attribution(self) -> dict[str, float]:
        """The factors of the gain that the paths tell apart; all three multiply to it.

        "allocation": array / tuned. "passes": tuned / serial. "threads": serial / numba.
        """
        steps = {
            "allocation": ("array", "tuned"),
            "passes": ("tuned", "serial"),
            "threads": ("serial", "numba"),
        }
        found = {cause: self._factor(*pair) for cause, pair in steps.items()}
        return {cause: factor for cause, factor in found.items() if factor is not None}

    def _factor(self, above: str, below: str) -> float | None:
        if above not in self.paths or below not in self.paths:
            return None
        return self.paths[above].timing.median / self.paths[below].timing.median


@dataclass(frozen=True)
class BreakEven:
    """From where on this library's path is faster than the array path, and stays so.

    Attributes:
        when: "always" and "never" speak of the sizes that were measured.
        size: interpolated between two measured sizes; None unless `when` is "from".
        smallest, largest: the sizes that were measured.
    """

    section: str
    operation: str
    dtype: str
    device: str
    when: Literal["always", "from", "never"]
    size: float | None
    smallest: int
    largest: int


def ratios_of(paths: Mapping[str, Measurement]) -> Ratios | None:
    """The ratios of one workload; None if no path of this library was measured."""
    ours = next((paths[name] for name in OURS if name in paths), None)
    if ours is None:
        return None
    peers = [found for name, found in paths.items() if name.startswith(PEERS)]
    return Ratios(paths, ours, min(peers, key=lambda found: found.timing.median, default=None))


def ratios(report: Report) -> list[Ratios]:
    """The ratios of every workload that has a path of this library, in the report's order."""
    found = (ratios_of(paths) for paths in report.workloads())
    return [one for one in found if one is not None]


def break_evens(report: Report) -> list[BreakEven]:
    """The break-even point of every operation with a gain at two sizes or more."""
    gains: dict[tuple[str, str, str, str], dict[int, float]] = {}
    for one in ratios(report):
        if one.gain is not None:
            ours = one.ours
            line = gains.setdefault((ours.section, ours.operation, ours.dtype, ours.device), {})
            line[ours.size] = min(one.gain, line.get(ours.size, math.inf))
    return [_break_even(key, sorted(line.items())) for key, line in gains.items() if len(line) > 1]


def _break_even(key: tuple[str, str, str, str], line: list[tuple[int, float]]) -> BreakEven:
    """`line` holds (size, gain), sizes ascending."""
    ends = line[0][0], line[-1][0]
    slower = [k for k, (_, gain) in enumerate(line) if gain <= 1]
    if not slower:
        return BreakEven(*key, "always", None, *ends)
    last = slower[-1]
    if last == len(line) - 1:
        return BreakEven(*key, "never", None, *ends)
    (size, gain), (next_size, next_gain) = line[last], line[last + 1]
    part = math.log(gain) / (math.log(gain) - math.log(next_gain))
    return BreakEven(*key, "from", size * (next_size / size) ** part, *ends)
