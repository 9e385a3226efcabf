"""Timing several candidates side by side, in blocks that take turns, by their medians."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds a call: the median, the quartiles, and how many calls they come from."""

    median: float
    low: float
    high: float
    calls: int


def interleaved(
    candidates: Mapping[str, Call],
    *,
    rounds: int = 9,
    block: float = 4e-3,
    before: Call | None = None,
    pause: float = 0.01,
) -> dict[str, Timing]:
    """Time each candidate in `rounds` blocks that take turns, so that drift hits all alike.

    Every second round goes through the candidates backwards, so that none always follows the same.

    Args:
        candidates: what to call; GPU candidates synchronize inside the call.
        rounds: blocks of each candidate.
        block: seconds that a block lasts at least; it holds 3 calls or more.
        before: run before every timed call, outside the timing (a matrix product, say).
        pause: seconds of rest before a block, in which the threads of the candidate before it
            stop spinning (OpenMP's do for milliseconds and would slow the next one down).

    The first call of each block warms caches and threads and is not counted.
    """
    counts = {name: _calls_in(call, block, before) for name, call in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            order = list(candidates.items())
            for name, call in order if turn % 2 == 0 else reversed(order):
                time.sleep(pause)
                call()
                for _ in range(counts[name]):
                    seconds[name].append(_once(call, before))
    finally:
        if collecting:
            gc.enable()
    return {name: _summary(values) for name, values in seconds.items()}


def _once(call: Call, before: Call | None) -> float:
    if before is not None:
        before()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _calls_in(call: Call, block: float, before: Call | None) -> int:
    call()
    quickest = min(_once(call, before) for _ in range(3))
    return int(min(max(3, block / max(quickest, 1e-7)), 1000))


def _summary(values: list[float]) -> Timing:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Timing(float(median), float(low), float(high), len(values))
