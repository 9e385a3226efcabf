"""How the CPU engine cuts rows into tasks: by shapes alone, so threads change no result."""

from __future__ import annotations

from typing import NamedTuple

from ..skeleton import Shape

PLANE = 64  # elements of a column from which it is walked alone, its value in a register
TASKS = 64
SUMMED = 32  # tasks at most that sum columns, each by itself
FEW, MANY = 8, 32  # tasks enough to take more rows, and rows enough, beside sums that are joined
LEAST = 1 << 14  # elements of a task


class Plan(NamedTuple):
    """How many rows a task takes, how many tasks there are, and the shape that loops see.

    Attributes:
        repeated: how often each value of a vector stands there, as long as it is one row's.
    """

    height: int
    tasks: int
    shape: Shape
    repeated: int

    @property
    def in_planes(self) -> bool:
        return self.shape.inner > 1


def plan(shape: Shape, summed: bool) -> Plan:
    """`summed`: whether columns are."""
    rows, groups, columns, inner = shape
    least = max(-(-rows // SUMMED), min(MANY, -(-rows // FEW))) if summed else -(-rows // TASKS)
    height = max(least, -(-LEAST // shape.width))
    repeated = inner if inner < PLANE else 1
    seen = Shape(rows, groups, columns * repeated, inner // repeated)
    return Plan(height, -(-rows // height), seen, repeated)
