"""One way to do a piece of work, ready to be timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True)
class Candidate:
    """One path, ready to run.

    Attributes:
        call: what is timed; on a GPU it returns when the work is done.
        reset: puts the data back to where it began; run between blocks, outside the timing.
        after: brings what the call found back to the arrays that it was made for, where it works
            on memory of its own; run to compare, never timed.
        told: whether the call returns the seconds that count, instead of taking them.
        before: run before every timed call, outside the timing (a matrix product, say).
        launches: passes over the arrays, or kernels started, by one call.
        moved: bytes that these passes read and write.
        memory: bytes that one call allocates at its peak.
    """

    call: Call
    reset: Call | None = None
    before: Call | None = None
    launches: int | None = None
    moved: int | None = None
    memory: int | None = None
    after: Call | None = None
    told: bool = False
