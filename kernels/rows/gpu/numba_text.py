"""The kernel of an operation over rows as a Python function, for `cuda.jit`, the simulator and the
PTX checks: what cuda_text.py has, an element an item."""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType
from typing import Any

import numpy as np

from ...compiling import python_text
from ...compiling.dtypes import compute_dtype
from ...compiling.gpu import cuda_normal_cdf
from ...compiling.gpu.cuda_launch import device_functions
from ...compiling.numba_reductions import sum_across
from ...compiling.python_text import indented, rebound
from ...state_formats import bfloat16
from ...state_formats.gpu.numba_cuda_kernels import functions as formulas_of_words
from ..skeleton import LEAD, Function, Rows, names
from . import plan as plans
from .cuda_text import CHUNK
from .plan import Form

_SIZES = "rows", "parts", "deep", "lanes", "sub", "columns", "inner", "per", "steps", "groups"

_BEGIN = "column, inside, left = lane // sub, lane % sub, per\n", "column = lane\n"
_THERE = "column < reach and inside < inner", "column < reach"
_AT = "start + column * inner + inside", "start + column"
_STEP = (
    """inside += sub
left -= 1
if left == 0:
    column, inside, left = column + lanes // sub, lane % sub, per
""",
    "column += lanes\n",
)
"""A thread's items, one after another, in planes and elsewhere."""

_ADDING = """column = lane
for k in range({KEPT}):
    cuda.syncthreads()
    for m in range({ADDED}):
        room[m, t] = own[m * {KEPT} + k]
    by = {THREADS} // 2
    while by >= lanes:
        cuda.syncthreads()
        if t < by:
            for m in range({ADDED}):
                room[m, t] += room[m, t + by]
        by //= 2
    if slot == 0 and column < columns:
        for m in range({ADDED}):
            sums[(m * parts + part) * columns + column] = room[m, t]
    column += lanes
"""

_ADDING_ALONE = """column = lane
for k in range({KEPT}):
    if column < columns:
        for m in range({ADDED}):
            sums[(m * parts + part) * columns + column] = own[m * {KEPT} + k]
    column += lanes
"""


def python_kernel(rows: Rows, dtype: str, form: Form) -> FunctionType:
    """(*arrays, *vectors, given, kept, sums, share of an element, *numbers, sizes), all arrays
    flat; what the operation does not have is left out."""
    from numba import cuda, from_dtype, int64

    compute, bits = np.dtype(compute_dtype(dtype)), dtype == "bfloat16"
    namespace: dict[str, Any] = {
        "cuda": cuda,
        "C": from_dtype(compute),
        "T": from_dtype(np.dtype("uint16" if bits else dtype)),
        "int64": int64,
        **{name: compute.type(value) for name, value in rows.constants.items()},
    }
    if bits:
        namespace |= _bfloat16()
    text = Text(rows, form, namespace, _functions(compute), bits)
    return python_text.build(rows, "cuda", text.kernel(), namespace)


def join_kernel(dtype: str) -> FunctionType:
    """What adds up the sums of columns: (sums, added, count, period)."""
    from numba import cuda, float64

    return rebound(rows_join, {"cuda": cuda, "DOUBLE": float64, "JOINED": plans.JOINED})


cuda: Any = None
DOUBLE: Any = float
JOINED = 1


def rows_join(sums: Any, added: Any, count: int, period: int) -> None:
    """A block adds up neighbouring columns, in double."""
    room = cuda.shared.array((JOINED, JOINED), DOUBLE)
    x, y = cuda.threadIdx.x % JOINED, cuda.threadIdx.x // JOINED
    column, total = cuda.blockIdx.x * JOINED + x, DOUBLE(0)
    if column < period:
        for k in range(y, count, JOINED):
            total += sums[(cuda.blockIdx.y * count + k) * period + column]
    room[y, x] = total
    half = JOINED // 2
    while half > 0:
        cuda.syncthreads()
        if y < half:
            room[y, x] += room[y + half, x]
        half //= 2
    if y == 0 and column < period:
        added[cuda.blockIdx.y * period + column] = room[0, x]


def _functions(compute: np.dtype[Any]) -> dict[str, Any]:
    """What functions of `Rows` may call."""
    found = device_functions()
    found["normal_cdf"] = cuda_normal_cdf.device_function(compute.name, found)
    return found


def _bfloat16() -> dict[str, Any]:
    """What makes numbers of bits, and bits of numbers; in Numba's simulator, too."""
    from numba import cuda

    found = formulas_of_words()
    nearest = cuda.jit(rebound(bfloat16.nearest, found), device=True)
    return {"word": found["word"], "widened": found["widened"], "nearest": nearest}


class Text:
    """The text of a kernel; `names` are those that stand in it. Where arrays hold `bits`, they make
    numbers of these."""

    def __init__(
        self,
        rows: Rows,
        form: Form,
        names: dict[str, Any],
        functions: dict[str, Any],
        bits: bool = False,
    ) -> None:
        self.read, self.put = ("widened(word({}))", "nearest({})") if bits else ("C({})", "{}")
        self.rows, self.form, self.names, self.functions = rows, form, names, functions
        self.counts = {
            "KEPT": form.kept, "ADDED": len(rows.added), "THREADS": form.threads
        }  # fmt: skip
        names["sum_across"] = self.device(sum_across, {"cuda": names["cuda"], "EVERY": 0xFFFFFFFF})

    def device(self, function: Any, known: dict[str, Any]) -> Any:
        return self.names["cuda"].jit(rebound(function, known), device=True)

    def kernel(self) -> str:
        rows, form, kept = self.rows, self.form, self.form.kept
        given = [f"{name}_all" for name in (*rows.arrays, *rows.vectors)]
        given += ["given_all"] * bool(rows.given) + ["kept_all"] * bool(rows.kept)
        given += ["sums"] * bool(rows.added) + ["share", *rows.numbers, *_SIZES]
        head = "t = cuda.threadIdx.x\nwidth = columns * inner\n"
        head += "".join(f"{name}_kept = cuda.local.array({kept}, T)\n" for name in rows.elements)
        if form.block:
            head += "slot, slots, turn = 0, 1, 0\n"
            most = max(len(rows.added), *(len(walk.sums) for walk in rows.walks))
            warps = form.threads // plans.WARP
            head += f"joined = cuda.shared.array((2, {most}, {warps}), C)\n"
        else:
            head += f"slot, slots = t // lanes, {form.threads} // lanes\n"
        head += "lane = t - slot * lanes\n"
        across = bool(rows.added) and not form.planes
        if across:
            head += f"own = cuda.local.array({len(rows.added) * kept}, C)\n"
            if not form.block:
                head += f"room = cuda.shared.array(({len(rows.added)}, {form.threads}), C)\n"
        row = "row = (part * deep + n) * slots + slot\nthere = row < rows\n"
        row += "start, reach = (row * width, columns) if there else (int64(0), int64(0))\n"
        if form.planes:
            row += "base = row % groups * columns\n"
        row += self.loads()
        for k, name in enumerate(rows.given):
            row += f"{name} = given_all[{k} * rows + row] if there else C(0)\n"
        row += "".join(self.walk(k) for k in range(len(rows.walks)))
        if rows.kept:
            row += "if there and lane == 0:\n"
            row += "".join(
                f"    kept_all[{k} * rows + row] = {name}\n" for k, name in enumerate(rows.kept)
            )
        row += self.update()
        part = ""
        if across:
            part += f"for k in range({len(rows.added) * kept}):\n    own[k] = C(0)\n"
        part += "for n in range(deep):\n" + indented(1, row)
        if across:
            part += (_ADDING_ALONE if form.block else _ADDING).format(**self.counts)
        head += "part = int64(cuda.blockIdx.x)\nwhile part < parts:\n"
        head += indented(1, part + "part += cuda.gridDim.x\n")
        return f"def NAME({', '.join(given)}):\n" + indented(1, head)

    def loads(self) -> str:
        """What a thread keeps of each array, and what it stores."""
        store, kept, rest = self.rows.store, "", ""
        for name in self.rows.elements:
            if store is not None and name in store.makes:
                made = self.stored("at")
                put = self.put.format(name)
                kept += f"{made}{name}_kept[k] = {put}\n{name}_all[at] = {name}_kept[k]\n"
                rest = f"{made}{name}_all[at] = {put}\n"
            else:
                kept += f"{name}_kept[k] = {name}_all[at]\n"
        return self.passed(kept, rest)

    def stored(self, at: str) -> str:
        """The statements that make an element of what is stored."""
        assert self.rows.store is not None
        function, makes = self.rows.store
        reads = ((name, self.read.format(f"{name}_all[{at}]")) for name in names(function))
        text = "".join(f"{name} = {read}\n" for name, read in reads)
        return text + self.called(function, makes)

    def called(self, function: Function, makes: Iterable[str]) -> str:
        name = f"formula_{function.__name__}"
        if name not in self.names:
            self.names[name] = self.device(function, self.functions)
        made = "".join(f"{each}, " for each in makes)
        return f"{made}= {name}({', '.join(names(function))})\n"

    def passed(
        self, kept: str, rest: str, after: str = "", begin: str = "", finish: str = ""
    ) -> str:
        """What is done to items that are kept, and to others; after each item, and before and
        after some of the others."""
        k = 0 if self.form.planes else 1

        def item(here: str) -> str:
            there = indented(1, f"at = {_AT[k]}\n{here}")
            return f"if {_THERE[k]}:\n{there}{after}{_STEP[k]}"

        text = _BEGIN[k] + f"for k in range({self.form.kept}):\n" + indented(1, item(kept))
        if rest and (self.form.block or self.form.planes):
            some = f"for m in range({CHUNK}):\n    if k < steps:\n"
            some += indented(2, item(rest) + "k += 1\n")
            text += f"k = int64({self.form.kept})\nwhile k < steps:\n"
            text += indented(1, begin + some + finish)
        return text

    def element(self, function: Function, makes: Iterable[str]) -> tuple[str, str]:
        """The statements that call a function for an element that is kept, and for another."""
        used, (steps, _) = self.rows.used(function), self.rows.needed(function)
        base = "base + column" if self.form.planes else "column"
        text = "".join(f"{name} = {name}_all[{base}]\n" for name in used.vectors)
        text += "".join(self.called(step.function, step.makes) for step in steps)
        text += self.called(function, [f"new_{name}" for name in makes])
        kept, rest = (
            "".join(f"{name} = {self.read.format(name + place)}\n" for name in used.arrays)
            for place in ("_kept[k]", "_all[at]")
        )
        return kept + text, rest + text

    def total(self, sums: Iterable[str]) -> str:
        """Over the threads of a row, to each of them."""
        over = str(plans.WARP) if self.form.block else "lanes"
        text = "".join(f"{name} = sum_across({name}, {over})\n" for name in sums)
        if self.form.block:
            text += f"if t % {plans.WARP} == 0:\n"
            for k, name in enumerate(sums):
                text += f"    joined[turn, {k}, t // {plans.WARP}] = {name}\n"
            text += "cuda.syncthreads()\n"
            text += "".join(f"{name} = joined[turn, {k}, 0]\n" for k, name in enumerate(sums))
            text += f"for i in range(1, cuda.blockDim.x // {plans.WARP}):\n"
            text += "".join(f"    {name} += joined[turn, {k}, i]\n" for k, name in enumerate(sums))
            text += "turn = 1 - turn\n"
        return text

    def walk(self, k: int) -> str:
        """Numbers of the row."""
        walk = self.rows.walks[k]
        kept, rest = self.element(walk.terms, walk.sums)
        add = "".join(f"{name} += new_{name}\n" for name in walk.sums)
        some = "".join(f"{name}_some += new_{name}\n" for name in walk.sums)
        summed = "".join(f"{name} = C(0)\n" for name in walk.sums)
        summed += self.passed(
            kept + add,
            rest + some,
            begin="".join(f"{name}_some = C(0)\n" for name in walk.sums),
            finish="".join(f"{name} += {name}_some\n" for name in walk.sums),
        )
        summed += self.total(walk.sums)
        text = summed
        if walk.guess is not None:
            number, start, better = walk.guess
            text = ""
            for name in names(start):
                array = name.removesuffix("_lead")
                if array != name:
                    text += self.lead(array)
            text += self.called(start, (number,)) + "for attempt in range(2):\n"
            text += indented(1, summed) + "    if attempt == 1:\n        break\n"
            text += indented(1, self.called(better, ("better_guess", "far_off")))
            # all threads of the block have read the lead that one of them may write over
            text += "    again = there and far_off > C(0)\n"
            text += "    if cuda.syncthreads_or(1 if again else 0) == 0:\n        break\n"
            text += f"    if again:\n        {number} = better_guess\n"
        return text + self.called(walk.finish, walk.numbers)

    def lead(self, array: str) -> str:
        """The mean of the first elements, by pairs, or in a short row the first."""
        store = self.rows.store
        made = f"{array} = {self.read.format(f'{array}_all[start + i]')}\n"
        if store is not None and array in store.makes:
            made = self.stored("start + i")
        text = f"{array}_lead = C(0)\nif there and width < {LEAD}:\n"
        text += indented(1, f"i = 0\n{made}{array}_lead = {array}\n") + "elif there:\n"
        for k in range(LEAD):
            text += indented(1, f"i = {k}\n{made}first{k} = {array} / C({LEAD})\n")
        pairs = [f"first{k}" for k in range(LEAD)]
        while len(pairs) > 1:
            pairs = [f"({a} + {b})" for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
        return text + f"    {array}_lead = {pairs[0]}\n"

    def update(self) -> str:
        """The result, and terms of sums over columns."""
        rows, form = self.rows, self.form
        kept, rest = self.element(rows.update, (rows.written, *rows.added))
        new = self.put.format(f"new_{rows.written}")
        put, before, after = f"{rows.written}_all[at] = {new}\n", "", ""
        kept, rest = kept + put, rest + put
        if form.planes and rows.added:
            own = [f"{name}_own" for name in rows.added]
            before = "".join(f"{name} = C(0)\n" for name in own)
            add = "".join(f"{name}_own += new_{name}\n" for name in rows.added)
            kept, rest = kept + add, rest + add
            narrow = "".join(f"{name} = sum_across({name}, sub)\n" for name in own)
            if form.block:
                narrow = (
                    f"if sub > {plans.WARP}:\n"
                    + indented(1, self.total(own))
                    + ("else:\n" + indented(1, narrow))
                )
            after = narrow + "if column < reach and lane % sub == 0:\n"
            for m, name in enumerate(own):
                after += f"    sums[({m} * rows + row) * columns + column] = {name}\n"
            after = "if left == 1:\n" + indented(1, after + before)
        else:
            for m, name in enumerate(rows.added):
                kept += f"own[{m * form.kept} + k] += new_{name}\n"
                place = f"({m} * parts + part) * columns + column"
                rest += f"sums[{place}] = sums[{place}] + new_{name} if n > 0 else new_{name}\n"
        return before + self.passed(kept, rest, after)
