"""The text of an operation over rows for the CPU: Python, made of the functions of `Rows`.

Each walk over a row is a function of its own, which alone is vectorized for sure. A walk that sums
takes pieces of PIECE elements, in the numbers of the computation; their sums add up in double.
Functions of `Rows` are compiled before they get there: sums may be taken in any order, what is
summed may not.

Where runs of elements share a column ("planes"), its value comes as a number, else vectors come as
arrays beside those of elements. To take sums over columns for two rows at once, or to work out two
rows at once, was measured, and slower where rows come from memory.
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
from ...simd.loops import copy, fill, inline, loop, reduction_loop
from ...simd.memory import address, memory, span
from ...simd.normal_cdf import normal_cdf
from ...simd.tanh import tanh
from ..skeleton import LEAD, Function, Rows, names

PIECE = 1024  # elements
TILE = 1024  # elements of a result that replaces what is read: worked out aside, then copied
LINE = 64  # bytes


@inline
def add(total: Any, part: Any) -> None:
    for i in range(total.size):
        total[i] += part[i]


@inline
def _aligned(room: Any, size: int) -> Any:
    """`size` numbers of `room` that begin where a line of the cache does: half as many writes."""
    skipped = (-address(room) % LINE) // room.itemsize
    return span(room, skipped, skipped + size)


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
    "where": inline(python_text.where),
}
"""What functions of `Rows` may call."""

_COMMON = {
    "add": add,
    "LINE": LINE,
    "aligned": _aligned,
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
    **{f"add{k}": add for k, add in enumerate(apart.ADDERS)},
}


@once
def _compiled(function: Function) -> Any:
    """One of the functions of `Rows`, which operations share."""
    return inline(specialize(function, **SCALARS))


class Texts:
    """The texts of one operation for one dtype, and what their names mean."""

    def __init__(self, rows: Rows, char: str, planes: bool, in_place: bool) -> None:
        self.rows, self.planes, self.in_place = rows, planes, in_place
        number = COMPUTED[char]
        constants = {name: number(value) for name, value in rows.constants.items()}
        self.names: dict[str, Any] = {**_COMMON, **constants, "T": number, "S": STORED[char]}
        self.makes = (rows.written, *rows.added)

    def formula(self, function: Function) -> str:
        """The name by which text calls one of the functions of `Rows`."""
        name = f"formula_{function.__name__}"
        self.names[name] = _compiled(function)
        return name

    def loop(
        self, name: str, function: Function, makes: tuple[str, ...], target: str = "",
        added: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Make the loop over part of a row that calls `function`, which makes so many names.

        It takes [the target,] arrays, vectors, numbers of the row and the call; then sums over
        columns, to which it adds. In planes it returns their parts instead, and without a target
        the sums of all that is made.
        """
        arrays, vectors, row, call = self.rows.used(function)
        steps, _ = self.rows.needed(function)
        summed = added if target else makes
        adds = bool(added) and not self.planes
        given = [f"{target}_at"] if target else []
        given += [f"{each}_at" for each in (*arrays, *vectors)] + row + call
        given += [f"{each}_sums" for each in summed] if adds else []
        text = f"def NAME({', '.join(given)}):\n"
        if not adds:
            text += "".join(f"    {each}_sum = T(0)\n" for each in summed)
        text += f"    for i in range({given[0]}.size):\n"
        inside = "".join(f"{each} = load_apart({each}_at, i)\n" for each in (*arrays, *vectors))
        for step in steps:
            inside += called(self.formula(step.function), step.makes, step.function)
        inside += called(self.formula(function), [f"new_{each}" for each in makes], function)
        if target:
            inside += f"store_apart({target}_at, i, new_{target})\n"
        for k, each in enumerate(summed):
            term = f"new_{each}"
            inside += f"add{k}({each}_sums, i, {term})\n" if adds else f"{each}_sum += {term}\n"
        text += indented(2, inside)
        if not adds and summed:
            text += f"    return {' '.join(f'{each}_sum,' for each in summed)}\n"
        built = python_text.build(self.rows, name, text, self.names)
        self.names[name] = (loop if adds or not summed else reduction_loop)(built)

    def over_row(
        self, name: str, function: Function, makes: tuple[str, ...], target: str = "",
        added: tuple[str, ...] = (),
    ) -> str:  # fmt: skip
        """The statements that call a loop for all pieces of a row."""
        in_place = self.in_place and bool(target)
        arrays, vectors, row, call = self.rows.used(function)
        length = str(TILE if in_place else PIECE)
        planes = self.planes and bool(vectors or added)
        place = f"span({target}_row, k, end)"
        given = ["piece" if in_place else place] if target else []
        given += [f"span({each}_row, k, end)" for each in arrays]
        for each in vectors:
            column = f"{each}_all[base + column]"
            given.append(column if planes else f"span({each}_all, base + k, base + end)")
        given += [f"T({each})" for each in (*row, *call)]
        summed = added if target else makes
        if added and not self.planes:
            given += [f"span({each}_sums, base + k, base + end)" for each in added]
            summed = ()
        inside = f"{' '.join(f'{each}_part,' for each in summed)} = " if summed else ""
        inside += f"{name}({', '.join(given)})\n"
        if in_place:
            inside = f"piece = span(scratch, 0, end - k)\n{inside}copy(piece, {place})\n"
        for each in summed:
            total = f"{each}_own[base + column]" if target else each
            inside += f"{total} += {each}_part\n"
        whole = bool(target) and not in_place and not summed
        if planes:
            text = "for column in range(columns):\n    last = (column + 1) * inner\n"
            if whole:
                return text + indented(1, "k, end = column * inner, last\n" + inside)
            text += f"    for k in range(column * inner, last, {length}):\n"
            return text + indented(2, f"end = min(k + {length}, last)\n" + inside)
        if whole:
            return "k, end = 0, width\n" + inside
        text = f"for k in range(0, width, {length}):\n"
        return text + indented(1, f"end = min(k + {length}, width)\n" + inside)

    def walks(self) -> str:
        """The statements that work out the numbers of one row."""
        rows, text = self.rows, ""
        for name in rows.arrays:
            text += f"{name}_row = span({name}_all, start, start + width)\n"
        if rows.store is not None:
            text += self._store()
        for k, name in enumerate(rows.given):
            text += f"{name} = given_all[{k} * rows + row]\n"
        for k, walk in enumerate(rows.walks):
            summed = "".join(f"{name} = 0.0\n" for name in walk.sums)
            self.loop(f"walk{k}", walk.terms, walk.sums)
            summed += self.over_row(f"walk{k}", walk.terms, walk.sums)
            if walk.guess is None:
                text += summed
            else:
                number, start, better = walk.guess
                for name in names(start):
                    array = name.removesuffix("_lead")
                    text += f"{name} = lead({array}_row, T(0.125))\n" if array != name else ""
                text += called(self.formula(start), (number,), start)
                text += "for attempt in range(2):\n" + indented(1, summed)
                text += "    if attempt == 0:\n"
                text += f"        better_guess, far = {self.wide(better)}\n"
                text += "        if not far > 0.0:\n            break\n"
                text += f"        {number} = T(better_guess)\n"
            text += f"{' '.join(f'{name},' for name in walk.numbers)} = {self.wide(walk.finish)}\n"
            text += "".join(f"{name} = T({name})\n" for name in walk.numbers)
        for k, name in enumerate(rows.kept):
            text += f"kept_all[{k} * rows + row] = {name}\n"
        return text

    def update(self) -> str:
        """The statements that work out the result of one row, and add to sums over columns."""
        rows = self.rows
        self.loop("update", rows.update, self.makes, rows.written, rows.added)
        return self.over_row("update", rows.update, self.makes, rows.written, rows.added)

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
        text += f"        {called(self.formula(function), (stored,), function)}"
        text += f"        store({stored}_at, i, {stored})\n"
        self.names["store_row"] = inline(python_text.build(self.rows, "store", text, self.names))
        return f"store_row({', '.join(f'{name}_row' for name in (stored, *read))})\n"


def called(name: str, makes: Iterable[str], function: Function) -> str:
    """The call of a function with arguments of its names."""
    return f"{' '.join(f'{each},' for each in makes)} = {name}({', '.join(names(function))})\n"


def indented(depth: int, text: str) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in text.splitlines())
