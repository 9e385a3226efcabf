"""The loops of an operation over rows for the CPU: all rows of some tasks, as C functions.

Sums over columns are taken in the numbers of the computation, FLUSHED rows at a time, and add up in
double, each task by itself; `join` adds those of all tasks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from ...compiling import python_text
from ...compiling.dtypes import COMPUTED
from ...compiling.jit import once
from ...compiling.specialize import specialize
from ...simd.loops import c_function
from ...simd.memory import memory, span
from ..skeleton import Rows
from .numba_job import (
    COLUMNS,
    FIRST,
    GROUPS,
    HEIGHT,
    IN_PLACE,
    INNER,
    REPEATED,
    ROWS,
    TASKS,
)
from .numba_text import TOGETHER, Texts, add, indented

TILE = 1024  # elements of a result that replaces what is read: worked out aside, then copied
FLUSHED = 32  # rows


@once
def loops(rows: Rows, char: str, planes: bool) -> int:
    """The address of the C function void(low, high, job) for tasks low to high."""
    texts, count = Texts(rows, char, planes), len(rows.added)
    together = TOGETHER if not planes else 1
    arrays = [f"{name}_all" for name in (*rows.arrays, *rows.vectors)]
    first = FIRST + len(arrays) + 4
    length = first + 1 + len(rows.numbers)
    text = "def NAME(low, high, job):\n"
    head = f"words, reals = carray(job, ({length},), int64), carray(job, ({length},), real64)\n"
    head += f"height, rows, groups = words[{HEIGHT}], words[{ROWS}], words[{GROUPS}]\n"
    head += f"columns, inner = words[{COLUMNS}], words[{INNER}]\n"
    head += f"tasks, in_place = words[{TASKS}], words[{IN_PLACE}] != 0\n"
    head += "width, period = columns * inner, groups * columns\n"
    head += f"step = {together} if groups == 1 and not in_place else 1\n"
    for k, name in enumerate(("share", *rows.numbers), first):
        head += f"{name} = reals[{k}]\n"
    for k, name in enumerate(arrays, FIRST):
        vector = name.removesuffix("_all") in rows.vectors
        size, number = ("period", "T") if vector else ("rows * width", "S")
        head += f"{name} = memory(words[{k}], {size}, {number})\n"
    head += f"given_all = memory(words[{first - 4}], {len(rows.given)} * rows, T)\n"
    head += f"kept_all = memory(words[{first - 3}], {len(rows.kept)} * rows, T)\n"
    head += f"sums_all = memory(words[{first - 2}], tasks * {count} * period, float64)\n"
    head += f"tile = {TILE} if in_place else max(width, 1)\n"
    head += f"scratch = empty({TILE} if in_place else 0, S)\n"
    if not planes:
        for name in rows.added:
            head += f"{name}_sums = aligned(empty(period + LINE, T), period)\n"
            head += f"fill({name}_sums, T(0))\n"
    task = ""
    for k, name in enumerate(rows.added):
        task += f"{name}_own = span(sums_all, (task * {count} + {k}) * period, "
        task += f"(task * {count} + {k + 1}) * period)\nfill({name}_own, 0.0)\n"
    task += "top, bottom = task * height, min((task + 1) * height, rows)\n"
    task += "for first in range(top, bottom, step):\n    count = min(step, bottom - first)\n"
    row = "start = row * width\nbase = 0 if groups == 1 else (row % groups) * columns\n"
    row += texts.walks()
    task += "    for row in range(first, first + count):\n"
    if planes:
        task += indented(2, row + texts.update())
    else:
        numbers, held = texts.held()
        head += f"held = empty({TOGETHER * numbers}, T)\n"
        row += f"if count == {TOGETHER}:\n{indented(1, held)}    continue\n" + texts.update()
        task += indented(2, row)
        task += f"    if count == {TOGETHER}:\n{indented(2, texts.update_together())}"
        if rows.added:
            task += "    done = first + count - top\n"
            task += f"    if first + count == bottom or done % ({FLUSHED} * groups) == 0:\n"
            for name in rows.added:
                task += f"        add({name}_own, {name}_sums)\n        fill({name}_sums, T(0))\n"
    head += "before = flush_denormals()\nfor task in range(low, high):\n"
    text += indented(1, head) + indented(2, task) + "    restore_denormals(before)\n"
    suffix = "planes" if planes else "rows"
    return int(c_function(python_text.build(rows, f"{suffix}", text, texts.names)).address)


@once
def join(rows: Rows, char: str) -> int:
    """The address of the C function void(0, 1, job) that adds up the sums of tasks, in order."""
    place = FIRST + len(rows.arrays) + len(rows.vectors) + 2
    meaning = {"T": COMPUTED[char], "PLACE": place, "COUNT": len(rows.added)}
    return int(c_function(specialize(_join, **meaning)).address)


T, PLACE, COUNT = np.float32, 0, 0


def _join(low: Any, high: Any, job: Any) -> None:
    words = carray(job, (PLACE + 2,), types.int64)
    tasks, repeated = words[TASKS], words[REPEATED]
    period = words[GROUPS] * words[COLUMNS]
    sums = memory(words[PLACE], tasks * COUNT * period, np.float64)
    total = span(sums, 0, COUNT * period)
    for task in range(1, tasks):
        add(total, span(sums, task * COUNT * period, (task + 1) * COUNT * period))
    added = memory(words[PLACE + 1], COUNT * period // repeated, T)
    for k in range(added.size):
        value = 0.0
        for i in range(k * repeated, (k + 1) * repeated):
            value += total[i]
        added[k] = T(value)
