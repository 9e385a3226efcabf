"""Where the channels of a task lie in memory, and one value a channel as one value a column."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...simd.loops import copy, fill, part
from ...simd.memory import span


class Task(NamedTuple):
    """Channels first to end, and rows low to high of them; `part` counts the parts of a block."""

    part: Any
    first: Any
    end: Any
    low: Any
    high: Any


@part
def task_of(plan: Any, number: Any, threads: Any) -> Any:
    """The task of that number; with `threads`, those of each thread's share in reverse order.

    A job that follows another begins then with what each thread's cache still holds.
    """
    if threads:
        tasks = plan.blocks * plan.parts
        share = ((number + 1) * threads - 1) // tasks  # as crew.py shares them
        number = share * tasks // threads + (share + 1) * tasks // threads - 1 - number
    block, part = number // plan.parts, number % plan.parts
    first, rows, parts = block * plan.group, plan.rows, plan.parts
    end = min(first + plan.group, plan.channels)
    return Task(part, first, end, part * rows // parts, (part + 1) * rows // parts)


@part
def run_of(plan: Any, row: Any, first: Any, end: Any) -> Any:
    """(low, high): where channels first to end of a row lie; the whole row if these are all."""
    low = row * plan.length + first * plan.inner
    width = (end - first) * plan.inner if end - first < plan.channels else plan.length
    return low, min(low + width, plan.total)


@part
def values_of(plan: Any, low_row: Any, high_row: Any) -> Any:
    """Values of one channel in those rows, the last of which may be cut off."""
    return (min(high_row * plan.length, plan.total) - low_row * plan.length) // plan.channels


@part
def vector(matrix: Any, row: Any, plan: Any, task: Any) -> Any:
    """A task's channels in a row of a matrix, which has one value a channel in each row."""
    start = row * plan.channels
    return span(matrix, start + task.first, start + task.end)


@part
def spread(vector: Any, inner: Any, columns: Any) -> None:
    """One value a channel to one a column; columns repeat the channels where rows are joined."""
    n = vector.size
    for start in range(0, columns.size, n * inner):
        if inner == 1:
            copy(vector, span(columns, start, start + n))
        else:
            for c in range(n):
                fill(span(columns, start + c * inner, start + (c + 1) * inner), vector[c])


@part
def gather(columns: Any, inner: Any, sums: Any) -> None:
    """Sums over the columns of each channel, in double."""
    n = sums.size
    fill(sums, 0.0)
    for start in range(0, columns.size, n * inner):
        if inner == 1:
            block = span(columns, start, start + n)
            for c in range(n):
                sums[c] += block[c]
        else:
            for c in range(n):
                run = span(columns, start + c * inner, start + (c + 1) * inner)
                total = 0.0
                for i in range(inner):
                    total += run[i]
                sums[c] += total
