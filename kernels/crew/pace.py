"""Whether a list of jobs is quicker with helpers: found out while it runs.

Beside other processes a helper may be without a core for milliseconds, while the caller waits for
what it has begun. How often, no one can tell beforehand; so the two ways are measured.
"""

from __future__ import annotations

MEMORY = 2e7  # nanoseconds over which the time of a step is averaged
GAIN = 0.95  # of the time alone: what helpers should come to
REPAID = 20  # times what trying with helpers lost, the caller then goes on alone
LEAST, MOST = 2e7, 2e9  # nanoseconds that it does so


class Pace:
    """What a step of one list takes, with helpers and alone.

    Attributes:
        alone_until: on the clock of perf_counter_ns: until then the caller goes on alone.
    """

    def __init__(self) -> None:
        self.alone_until = 0.0
        self._shared = self._alone = 0.0  # nanoseconds of a step; 0: not known yet

    def took(self, shared: bool, nanoseconds: int, steps: float, held_up: bool) -> float:
        """So many steps ended after that time, with helpers, who may have held the caller up, or
        alone; nanoseconds for which the caller had better go on alone now."""
        if steps <= 0.0:
            return LEAST if held_up else 0.0
        step, weight = nanoseconds / steps, min(1.0, nanoseconds / MEMORY)
        if not shared:
            self._alone = step if not self._alone else self._alone + weight * (step - self._alone)
            return 0.0
        self._shared = step if not self._shared else self._shared + weight * (step - self._shared)
        if not self._alone:  # that is to be found out
            return LEAST / 2 if held_up else 0.0
        if self._shared < GAIN * self._alone:
            return 0.0
        self._shared = 0.0
        return min(MOST, max(LEAST, REPAID * (step - self._alone) * steps))
