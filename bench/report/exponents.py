"""How cost grows with the work: the slope of log(time) over log(size).

0 is a constant (a launch, a call), 1 is proportional, more means that a cache was left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from .record import Report

LEAST = 3
"""Sizes that a curve has at least."""


@dataclass(frozen=True)
class Growth:
    """The times of one path at several sizes.

    Attributes:
        sizes: ascending, each once.
        seconds: the medians; where a size was measured twice, their geometric mean.
    """

    section: str
    operation: str
    dtype: str
    device: str
    path: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def local(self) -> tuple[float, ...]:
        """The slope between each size and the next."""
        points = pairwise(zip(self.sizes, self.seconds, strict=True))
        return tuple(math.log(t / s) / math.log(n / m) for (m, s), (n, t) in points)

    @property
    def upper(self) -> float:
        """The least-squares slope over the upper half of the sizes, the middle one included."""
        slope = self.slope(self.sizes[(len(self.sizes) - 1) // 2])
        assert slope is not None, "three sizes or more leave two in the upper half"
        return slope

    def slope(self, above: float = 0) -> float | None:
        """The least-squares slope over the sizes of `above` and more; None for less than two."""
        kept = [
            (math.log(size), math.log(seconds))
            for size, seconds in zip(self.sizes, self.seconds, strict=True)
            if size >= above
        ]
        if len(kept) < 2:
            return None
        x0 = sum(x for x, _ in kept) / len(kept)
        y0 = sum(y for _, y in kept) / len(kept)
        return sum((x - x0) * (y - y0) for x, y in kept) / sum((x - x0) ** 2 for x, _ in kept)


def growths(report: Report) -> list[Growth]:
    """The curve of every path that was measured at three sizes or more, in the report's order."""
    found: dict[tuple[str, str, str, str, str], dict[int, list[float]]] = {}
    for one in report.measurements:
        if one.size > 0:
            key = (one.section, one.operation, one.dtype, one.device, one.path)
            found.setdefault(key, {}).setdefault(one.size, []).append(math.log(one.timing.median))
    return [
        Growth(
            *key,
            tuple(sorted(curve)),
            tuple(math.exp(sum(curve[size]) / len(curve[size])) for size in sorted(curve)),
        )
        for key, curve in found.items()
        if len(curve) >= LEAST
    ]
