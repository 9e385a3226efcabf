"""The loops of an operation over rows for the CPU: text made of `Rows`, compiled as C functions.

Each walk over a row is a function of its own, which alone is vectorized for sure. A walk that sums
takes pieces of PIECE elements, in the numbers of the computation; their sums add up in double. So do
sums over columns, after FLUSHED rows. Functions of `Rows` are compiled before they get there: sums
may be taken in any order, what is summed may not.

Where runs of elements share a column ("planes"), its value comes as a number, else vectors come as
arrays beside those of elements.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import carray, types

from ...compiling import python_text
from ...compiling.dtypes import COMPUTED, STORED
from ...compiling.jit import once
from ...compiling.specialize import specialize
from ...simd import apart
from ...simd.denormals import flush_denormals, restore_denormals
from ...simd.exp import clamped_exp
from ...simd.half import load, store
from ...simd.loops import c_function, copy, fill, inline, reduction
from ...simd.memory import memory, span
from ...simd.normal_cdf import normal_cdf
from ...simd.tanh import tanh
from ..skeleton import LEAD, Function, Rows, names
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

PIECE = 1024  # elements
TILE = 1024  # elements of a result that replaces what is read: worked out aside, then copied
FLUSHED = 32  # rows


@inline
def _where(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b


@inline
def _add(total: Any, part: Any) -> None:
    for i in range(total.size):
        total[i] += part[i]


@inline
def _lead(row: Any, eighth: Any) -> Any:
    """The mean of the first eight elements, or the first; no step is larger than they are."""
    if row.size < LEAD:
        return load(row, 0)
    a = load(row, 0) * eighth + load(row, 1) * eighth
    b = load(row, 2) * eighth + load(row, 3) * eighth
    c = load(row, 4) * eighth + load(row, 5) * eighth
    d = load(row, 6) * eighth + load(row, 7) * eighth
    return (a + b) + (c + d)


SCALARS = {
    "absolute": abs,
    "exp": clamped_exp,
    "maximum": inline(python_text.maximum),
    "normal_cdf": normal_cdf,
    "sqrt": np.sqrt,
    "tanh": tanh,
    "where": _where,
}
"""What functions of `Rows` may call."""

_COMMON = {
    "add": _add,
    "add_apart": apart.add,
    "carray": carray,
    "copy": copy,
    "empty": np.empty,
    "fill": fill,
    "float64": np.float64,
    "flush_denormals": flush_denormals,
    "int64": types.int64,
    "lead": _lead,
    "load": load,
    "load_apart": apart.load,
    "memory": memory,
    "real64": types.float64,
    "restore_denormals": restore_denormals,
    "span": span,
    "store": store,
    "store_apart": apart.store,
}


class _Texts:
    """The text of one operation for one dtype, and what its names mean."""

    def __init__(self, rows: Rows, char: str, planes: bool) -> None:
        self.rows, self.planes = rows, planes
        number = COMPUTED[char]
        constants = {name: number(value) for name, value in rows.constants.items()}
        self.asked = {
            name
            for walk in rows.walks
            if walk.guess is not None
            for name in names(walk.guess.start)
        }
        self.names: dict[str, Any] = {**_COMMON, **constants, "T": number, "S": STORED[char]}

    def formula(self, function: Function) -> str:
        """The name by which text calls one of the functions of `Rows`."""
        name = f"formula_{function.__name__}"
        self.names[name] = inline(specialize(function, **SCALARS))
        return name

    def loop(
        self, name: str, function: Function, makes: tuple[str, ...], target: str = ""
    ) -> tuple[list[str], list[str], list[str]]:
        """Make the loop over part of a row that calls `function`.

        It is NAME([target,] arrays, vectors, numbers of the row and the call, [sums over columns])
        and sums up what `function` makes, but for the target. Returns those names.
        """
        rows = self.rows
        steps, others = rows.needed(function)
        arrays = [each for each in others if each in rows.elements]
        vectors = [each for each in others if each in rows.vectors]
        numbers = [
            each
            for each in others
            if each not in (*arrays, *vectors) and each not in rows.constants
        ]
        columns = bool(target) and not self.planes
        summed = [each for each in makes if each != target]
        given = [f"{each}_at" for each in (*([target] if target else []), *arrays, *vectors)]
        given += [*numbers, *([f"{each}_sums" for each in summed] if columns else [])]
        text = f"def NAME({', '.join(given)}):\n"
        if not columns:
            text += "".join(f"    {each}_sum = T(0)\n" for each in summed)
        text += f"    for i in range({given[0]}.size):\n"
        for each in (*arrays, *vectors):
            text += f"        {each} = load_apart({each}_at, i)\n"
        for step in steps:
            text += f"        {_call(self.formula(step.function), step.makes, step.function)}"
        values = tuple(f"new_{each}" for each in makes)
        text += f"        {_call(self.formula(function), values, function)}"
        if target:
            text += f"        store_apart({target}_at, i, new_{target})\n"
        for each in summed:
            text += (
                f"        add_apart({each}_sums, i, new_{each})\n"
                if columns
                else (f"        {each}_sum += new_{each}\n")
            )
        if not columns and summed:
            text += f"    return {' '.join(f'{each}_sum,' for each in summed)}\n"
        built = python_text.build(rows, name, text, self.names)
        self.names[name] = (inline if columns or not summed else reduction)(built)
        return arrays, vectors, numbers

    def over_row(
        self, name: str, used: tuple[list[str], list[str], list[str]], makes: Iterable[str],
        target: str = "",
    ) -> str:  # fmt: skip
        """The statements that call a loop for all pieces of a row."""
        arrays, vectors, numbers = used
        length = "tile" if target else str(PIECE)
        summed = [each for each in makes if each != target]
        planes = self.planes and bool(vectors or (target and summed))
        given = [f"span({each}_row, k, end)" for each in arrays]
        if planes:
            given += [f"{each}_all[base + column]" for each in vectors]
        else:
            given += [f"span({each}_all, base + k, base + end)" for each in vectors]
        given += [f"T({each})" for each in numbers]
        if target and not self.planes:
            given += [f"span({each}_sums, base + k, base + end)" for each in summed]
        if target:
            given.insert(0, "piece")
        call, results = f"{name}({', '.join(given)})", ""
        if summed and not (target and not self.planes):
            results = " ".join(f"{each}_part," for each in summed) + " = "
        inside = f"piece = span(scratch, 0, end - k) if in_place else span({target}_row, k, end)\n"
        inside = (inside if target else "") + f"{results}{call}\n"
        if target:
            inside += f"if in_place:\n    copy(piece, span({target}_row, k, end))\n"
        for each in summed if results else ():
            place = f"{each}_own[base + column]" if target else each
            inside += f"{place} += {each}_part\n"
        if planes:
            text = "for column in range(columns):\n    last = (column + 1) * inner\n"
            text += f"    for k in range(column * inner, last, {length}):\n"
            return text + _indented(2, f"end = min(k + {length}, last)\n" + inside)
        text = f"for k in range(0, width, {length}):\n"
        return text + _indented(1, f"end = min(k + {length}, width)\n" + inside)

    def row(self) -> str:
        """The statements that work out one row."""
        rows, text = self.rows, ""
        for name in rows.arrays:
            text += f"{name}_row = span({name}_all, start, start + width)\n"
        if rows.store is not None:
            text += self._store()
        for name in rows.elements:
            if f"{name}_lead" in self.asked:
                text += f"{name}_lead = lead({name}_row, T(0.125))\n"
        for k, name in enumerate(rows.given):
            text += f"{name} = given_all[{k} * rows + row]\n"
        for k, walk in enumerate(rows.walks):
            used = self.loop(f"walk{k}", walk.terms, walk.sums)
            summed = "".join(f"{name} = 0.0\n" for name in walk.sums)
            summed += self.over_row(f"walk{k}", used, walk.sums)
            if walk.guess is None:
                text += summed
            else:
                number, start, better = walk.guess
                text += _call(self.formula(start), (number,), start)
                text += "for attempt in range(2):\n" + _indented(1, summed)
                text += "    if attempt == 0:\n"
                text += f"        better_guess, far = {self.wide(better)}\n"
                text += "        if not far > 0.0:\n            break\n"
                text += f"        {number} = T(better_guess)\n"
            text += f"{' '.join(f'{name},' for name in walk.numbers)} = {self.wide(walk.finish)}\n"
            text += "".join(f"{name} = T({name})\n" for name in walk.numbers)
        makes = (rows.written, *rows.added)
        used = self.loop("update", rows.update, makes, rows.written)
        text += self.over_row("update", used, makes, rows.written)
        for k, name in enumerate(rows.kept):
            text += f"kept_all[{k} * rows + row] = {name}\n"
        return text

    def wide(self, finish: Function) -> str:
        """The call of a function in double."""
        constants = self.rows.constants
        given = (
            repr(float(constants[name])) if name in constants else f"float64({name})"
            for name in names(finish)
        )
        return f"{self.formula(finish)}({', '.join(given)})"

    def _store(self) -> str:
        assert self.rows.store is not None
        function, (stored,) = self.rows.store
        read = names(function)
        text = f"def NAME({stored}_at, {', '.join(f'{name}_at' for name in read)}):\n"
        text += f"    for i in range({stored}_at.size):\n"
        text += "".join(f"        {name} = load({name}_at, i)\n" for name in read)
        text += f"        {_call(self.formula(function), (stored,), function)}"
        text += f"        store({stored}_at, i, {stored})\n"
        self.names["store_row"] = inline(python_text.build(self.rows, "store", text, self.names))
        return f"store_row({', '.join(f'{name}_row' for name in (stored, *read))})\n"


@once
def loops(rows: Rows, char: str, planes: bool) -> int:
    """The address of the C function void(low, high, job) for tasks low to high."""
    texts, count = _Texts(rows, char, planes), len(rows.added)
    body = texts.row()
    arrays = [f"{name}_all" for name in (*rows.arrays, *rows.vectors)]
    first = FIRST + len(arrays) + 4
    length = first + 1 + len(rows.numbers)
    text = "def NAME(low, high, job):\n"
    head = f"words, reals = carray(job, ({length},), int64), carray(job, ({length},), real64)\n"
    head += f"height, rows, groups = words[{HEIGHT}], words[{ROWS}], words[{GROUPS}]\n"
    head += f"columns, inner = words[{COLUMNS}], words[{INNER}]\n"
    head += f"tasks, in_place = words[{TASKS}], words[{IN_PLACE}] != 0\n"
    head += "width, period = columns * inner, groups * columns\n"
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
            head += f"{name}_sums = empty(period, T)\nfill({name}_sums, T(0))\n"
    head += "before = flush_denormals()\nfor task in range(low, high):\n"
    task = ""
    for k, name in enumerate(rows.added):
        task += f"{name}_own = span(sums_all, (task * {count} + {k}) * period, "
        task += f"(task * {count} + {k + 1}) * period)\nfill({name}_own, 0.0)\n"
    task += "top, bottom = task * height, min((task + 1) * height, rows)\n"
    task += "for row in range(top, bottom):\n    start = row * width\n"
    task += "    base = 0 if groups == 1 else (row % groups) * columns\n" + _indented(1, body)
    if rows.added and not planes:
        task += f"    if row + 1 == bottom or (row + 1 - top) % ({FLUSHED} * groups) == 0:\n"
        for name in rows.added:
            task += f"        add({name}_own, {name}_sums)\n        fill({name}_sums, T(0))\n"
    text += _indented(1, head) + _indented(2, task) + "    restore_denormals(before)\n"
    suffix = "planes" if planes else "rows"
    return int(c_function(python_text.build(rows, f"{suffix}", text, texts.names)).address)


@once
def join(rows: Rows, char: str) -> int:
    """The address of the C function void(0, 1, job) that adds up the sums of all tasks, in order."""
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
        _add(total, span(sums, task * COUNT * period, (task + 1) * COUNT * period))
    added = memory(words[PLACE + 1], COUNT * period // repeated, T)
    for k in range(added.size):
        value = 0.0
        for i in range(k * repeated, (k + 1) * repeated):
            value += total[i]
        added[k] = T(value)


def _call(name: str, makes: Iterable[str], function: Function) -> str:
    return f"{' '.join(f'{each},' for each in makes)} = {name}({', '.join(names(function))})\n"


def _indented(depth: int, text: str) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in text.splitlines())
