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
    INNER,
    REPEATED,
    ROWS,
    TASKS,
)
from .numba_text import TILE, Texts, add, indented

FLUSHED = 32  # rows


@once
def loops(rows: Rows, char: str, planes: bool, in_place: bool) -> int:
    """The address of the C function void(low, high, job) for tasks low to high; `in_place`: where
    the result replaces an array that is seen."""
    texts, count = Texts(rows, char, planes, in_place), len(rows.added)
    arrays = [f"{name}_all" for name in (*rows.arrays, *rows.vectors)]
    first = FIRST + len(arrays) + 4
    length = first + 1 + len(rows.numbers)
    text = "def NAME(low, high, job):\n"
    head = f"words, reals = carray(job, ({length},), int64), carray(job, ({length},), real64)\n"
    head += f"height, rows, groups = words[{HEIGHT}], words[{ROWS}], words[{GROUPS}]\n"
    head += f"columns, inner = words[{COLUMNS}], words[{INNER}]\n"
    head += f"tasks = words[{TASKS}]\nwidth, period = columns * inner, groups * columns\n"
    for k, name in enumerate(("share", *rows.numbers), first):
        head += f"{name} = reals[{k}]\n"
    for k, name in enumerate(arrays, FIRST):
        vector = name.removesuffix("_all") in rows.vectors
        size, number = ("period", "T") if vector else ("rows * width", "S")
        head += f"{name} = memory(words[{k}], {size}, {number})\n"
    head += f"given_all = memory(words[{first - 4}], {len(rows.given)} * rows, T)\n"
    head += f"kept_all = memory(words[{first - 3}], {len(rows.kept)} * rows, T)\n"
    head += f"sums_all = memory(words[{first - 2}], tasks * {count} * period, float64)\n"
    if in_place:
        head += f"scratch = empty({TILE}, S)\n"
    if not planes:
        for name in rows.added:
            head += f"{name}_sums = aligned(empty(period + LINE, T), period)\n"
            head += f"fill({name}_sums, T(0))\n"
    task = ""
    for k, name in enumerate(rows.added):
        task += f"{name}_own = span(sums_all, (task * {count} + {k}) * period, "
        task += f"(task * {count} + {k + 1}) * period)\nfill({name}_own, 0.0)\n"
    task += "top, bottom = task * height, min((task + 1) * height, rows)\n"
    row = "start = row * width\nbase = 0 if groups == 1 else (row % groups) * columns\n"
    row += texts.walks() + texts.update()
    if rows.added and not planes:
        row += f"if row + 1 == bottom or (row + 1 - top) % ({FLUSHED} * groups) == 0:\n"
        for name in rows.added:
            row += f"    add({name}_own, {name}_sums)\n    fill({name}_sums, T(0))\n"
    task += "for row in range(top, bottom):\n" + indented(1, row)
    head += "before = flush_denormals()\nfor task in range(low, high):\n"
    text += indented(1, head) + indented(2, task) + "    restore_denormals(before)\n"
    suffix = ("planes" if planes else "rows") + ("_in_place" if in_place else "")
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
