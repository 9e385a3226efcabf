"""Where the channels of a task lie in memory, and one value a channel as one value a column."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..simd.loops import copy, fill, part
from ..simd.memory import span


class Task(NamedTuple):
    """Channels first to end, and rows low to high of them; `part` counts the parts of a block."""

    part: Any
    first: Any
    end: Any
    low: Any
    high: Any


@part
def task_of(job: Any, number: Any, backwards: bool) -> Any:
    """The task of that number; `backwards`: those of each thread's share in reverse order.

    A job that follows another begins then with what each thread's cache still holds.
    """
    if backwards:
        tasks, threads = job.blocks * job.parts, job.threads
        share = ((number + 1) * threads - 1) // tasks  # as crew.py shares them
        number = share * tasks // threads + (share + 1) * tasks // threads - 1 - number
    block, part = number // job.parts, number % job.parts
    first, rows, parts = block * job.group, job.rows, job.parts
    end = min(first + job.group, job.channels)
    return Task(part, first, end, part * rows // parts, (part + 1) * rows // parts)


@part
def run_of(job: Any, row: Any, first: Any, end: Any) -> Any:
    """(low, high): where channels first to end of a row lie; the whole row if these are all."""
    low = row * job.length + first * job.inner
    width = (end - first) * job.inner if end - first < job.channels else job.length
    return low, min(low + width, job.total)


@part
def values_of(job: Any, low_row: Any, high_row: Any) -> Any:
    """Values of one channel in those rows, the last of which may be cut off."""
    return (min(high_row * job.length, job.total) - low_row * job.length) // job.channels


@part
def vector(matrix: Any, row: Any, job: Any, task: Any) -> Any:
    """A task's channels in a row of a matrix, which has one value a channel in each row."""
    start = row * job.channels
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
