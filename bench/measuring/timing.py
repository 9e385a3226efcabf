"""Timing several candidates side by side, in blocks that take turns, by their medians."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from .candidate import Call, Candidate


@dataclass(frozen=True)
class Timing:
    """Seconds a call.

    Attributes:
        median, low, high: of all calls: the median and the quartiles.
        calls: how many there were.
        blocks: the median of each block, in the order in which they ran. Blocks are spread over
            the whole run, so that they tell how far such a median can be trusted.
    """

    median: float
    low: float
    high: float
    calls: int
    blocks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Effort:
    """How long to measure: blocks of each path, seconds and calls that a block has at least."""

    rounds: int
    block: float
    least: int


def interleaved(
    candidates: Mapping[str, Call | Candidate],
    *,
    rounds: int = 9,
    block: float = 4e-3,
    least: int = 3,
    before: Call | None = None,
    pause: float = 0.01,
    warm: bool = True,
) -> dict[str, Timing]:
    """Time each candidate in `rounds` blocks that take turns, so that drift hits all alike.

    Every second round goes through the candidates backwards, so that none always follows the same.

    Args:
        candidates: what to call, alone or with what puts its data back before each block; GPU
            candidates synchronize inside the call.
        rounds: blocks of each candidate.
        block: seconds that a block lasts at least.
        least: calls that a block holds at least.
        before: run before every timed call, outside the timing, where a candidate has nothing of
            its own to run there (a matrix product, say).
        pause: seconds of rest before a block, in which the threads of the candidate before it
            stop spinning (OpenMP's do for milliseconds and would slow the next one down).
        warm: begin each block with a call that is not counted and warms caches and threads. False
            is for what takes long and starts from nothing, one call a block.
    """
    ready = {
        name: made if isinstance(made, Candidate) else Candidate(made, before=before)
        for name, made in candidates.items()
    }
    counts = {
        name: _calls_in(candidate, block, least) if warm else 1 for name, candidate in ready.items()
    }
    blocks: dict[str, list[list[float]]] = {name: [] for name in ready}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            order = list(ready.items())
            for name, candidate in order if turn % 2 == 0 else reversed(order):
                if candidate.reset is not None:
                    candidate.reset()
                time.sleep(pause)
                if warm:
                    candidate.call()
                blocks[name].append([_once(candidate) for _ in range(counts[name])])
    finally:
        if collecting:
            gc.enable()
    return {name: timing(seconds) for name, seconds in blocks.items()}


def timing(blocks: list[list[float]]) -> Timing:
    """The summary of the calls of some blocks."""
    values = np.concatenate(blocks)
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    medians = tuple(float(np.median(block)) for block in blocks)
    return Timing(float(median), float(low), float(high), len(values), medians)


def _once(candidate: Candidate) -> float:
    if candidate.before is not None:
        candidate.before()
    start = time.perf_counter()
    found = candidate.call()
    return cast(float, found) if candidate.told else time.perf_counter() - start


def _calls_in(candidate: Candidate, block: float, least: int) -> int:
    if candidate.reset is not None:
        candidate.reset()
    whole = replace(candidate, told=False)
    first = _once(replace(whole, before=None))
    if first > 10 * block:
        return least
    quickest = min(_once(whole) for _ in range(3))
    return int(min(max(least, block / max(quickest, 1e-7)), 1000))
