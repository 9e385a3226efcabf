"""Engine "numba": dropout in SIMD loops, large arrays shared by the crew of threads.

- Small arrays: the compiled loop is called directly, behind checks of its own.
- One run of memory in another order: tiles of bits are turned into that order (numba_orders.py).
- Any other layout: NumPy's iterator hands the loop cache-sized contiguous pieces in C order,
  converted where needed, and writes them back: no whole copy.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np
from numba import types

from ....backend import Array
from ....backend.memory_pool import empty_as
from ...compiling.dtypes import COMPUTED, NATIVE, STORED
from ...compiling.jit import njit, once
from ...compiling.specialize import specialize
from ...crew.crew import get_crew
from ...order import order_of, run_like
from ...simd.half import NUMBERS, why_no_half
from ...simd.loops import OPTIONS, c_function
from ..contract import DropoutEngine, Mask
from . import numba_loops, numba_orders
from .numba_loops import JOB
from .numba_orders import plan

SHARED = 1 << 18  # elements from which threads share an array, even if they must be woken
PIECE = 8192  # elements of a piece of a strided array
_READABLE = 0x1 | 0x100  # NumPy's C_CONTIGUOUS | ALIGNED


class NumbaDropout(DropoutEngine):
    """Takes any layout."""

    name = "numba"

    def missing(self, kind: str) -> str:
        return why_no_half(kind)

    def quick(self, x: Any, mask: Mask, out: Any) -> Array | None:
        if type(x) is not np.ndarray or mask.scale == 1.0 or x.size >= SHARED:
            return None
        kind = NATIVE.get(x.dtype)
        if kind is None or x.flags.num & _READABLE != _READABLE:
            return None
        if out is None:
            y = empty_as(x)
        elif (
            type(out) is np.ndarray
            and out.dtype is x.dtype
            and out.shape == x.shape
            and out.flags.num & _READABLE == _READABLE
        ):
            y = out
        else:
            return None
        try:
            ran = compiled(kind)(x.reshape(-1), y.reshape(-1), 0, *numbers(mask))
        except TypeError:  # an array that is read-only; nothing ran
            return None
        return y if ran else None

    def run(self, x: Array, y: Array, mask: Mask) -> None:
        if not _is_run(y):
            if not _run_permuted(x, y, mask):
                _run_pieces(x, y, mask)
            return
        x = run_like(x, y, fresh=True)
        kind = x.dtype.char
        flat_x, flat_y = (a.reshape(-1).view(STORED[kind]) for a in (x, y))
        if x.size >= SHARED:
            job = np.array([flat_x.ctypes.data, flat_y.ctypes.data, *numbers(mask)[:3], 0])
            job.view(np.float64)[-1] = mask.scale
            get_crew().run(shared(kind).address, x.size, job, (flat_x, flat_y))
        else:
            compiled(kind)(flat_x, flat_y, 0, *numbers(mask))


def _is_run(array: Array) -> bool:
    """Whether compiled code can take it as it is."""
    return array.flags.num & _READABLE == _READABLE and array.dtype.isnative


def numbers(mask: Mask) -> tuple[int, int, int, float]:
    """seed and draw with the bits that they have as int64, last, scale."""
    seed, draw = ((word ^ (1 << 63)) - (1 << 63) for word in (mask.seed, mask.draw))
    return seed, draw, mask.last, mask.scale


def _run_permuted(x: Array, y: Array, mask: Mask) -> bool:
    """Run it if y is a run of memory whose axes are long enough; x is copied to y's order."""
    if order_of(y) is None or (planned := plan(y.shape, y.strides, y.itemsize)) is None:
        return False
    x = run_like(x, y, fresh=True)
    job, tasks = planned[0].copy(), planned[1]
    job[:JOB] = x.ctypes.data, y.ctypes.data, *numbers(mask)[:3], 0
    job.view(np.float64)[JOB - 1] = mask.scale
    function = permuted(x.dtype.char).address
    if x.size >= SHARED:
        get_crew().run(function, tasks, job, (x, y), chunk=1, elements=x.size)
    else:
        get_crew().alone(function, tasks, job)
    return True


def _run_pieces(x: Array, y: Array, mask: Mask) -> None:
    kind, first = x.dtype.char, 0
    contiguous = ["contig", "aligned", "nbo"]
    iterate: Any = np.nditer
    pieces = iterate(
        [x, y],
        flags=["external_loop", "buffered", "grow_inner"],
        op_flags=[["readonly", *contiguous], ["writeonly", *contiguous]],
        op_dtypes=[x.dtype.newbyteorder("=")] * 2,
        order="C",
        casting="equiv",
        buffersize=PIECE,
    )
    loop, stored, told = compiled(kind), STORED[kind], numbers(mask)
    with pieces:
        for piece, result in pieces:
            loop(piece.view(stored), result.view(stored), first, *told)
            first += piece.size


@once
def compiled(kind: str) -> Any:
    """The compiled function for one dtype: True if it ran, False if it refused.

    Its one signature admits only aligned, contiguous arrays, a y that is writeable, and int64; the
    code itself refuses other sizes, and arrays that overlap but are not the same.
    """
    stored = NUMBERS[kind]
    arrays = types.Array(stored, 1, "C", readonly=True), types.Array(stored, 1, "C")
    numbers = (*[types.int64] * 4, types.float64)
    function = _specialized(numba_loops.guarded, kind)
    return njit(types.boolean(*arrays, *numbers), **OPTIONS)(function)


@once
def shared(kind: str) -> Any:
    """The same over elements low to high of a job, as a C function that the crew calls."""
    return c_function(_specialized(numba_loops.shared, kind))


@once
def permuted(kind: str) -> Any:
    """`numba_orders.permuted` for one dtype, as a C function that the crew calls."""
    return c_function(_specialized(numba_orders.permuted, kind))


def _specialized(function: Any, kind: str) -> FunctionType:
    return specialize(function, COMPUTED=COMPUTED[kind], STORED=STORED[kind])
