"""Engine "numba": activations in SIMD loops, large arrays shared by the crew of threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend import Array
from ....backend.memory_pool import empty_as
from ...compiling.dtypes import NATIVE, STORED
from ...crew.crew import HELPED, REFUSED, SHARED, get_crew
from ...simd.half import why_no_half
from ..contract import ActivationEngine, Numbers
from ..formula import KINDS
from .numba_calls import WORDS
from .numba_compile import compiled, ready
from .numba_tasks import cut

_NOTHING = {char: np.empty(0, stored) for char, stored in STORED.items()}
_QUICK = ("linear", "relu", "leaky_relu")  # the others' arithmetic takes longer than memory


class NumbaActivation(ActivationEngine):
    """One call of compiled code, which also checks what Python would take longer to check."""

    name = "numba"
    strided = False

    def missing(self, kind: str) -> str:
        return why_no_half(kind)

    def quick_forward(
        self, x: Any, kind: str, numbers: Numbers, bias: Any, out: Any
    ) -> Array | None:
        char = _quick(x)
        if char is None:
            if (rows := _as_rows(x, out)) is None:
                return None
            done = self.quick_forward(rows[0], kind, numbers, bias, rows[1])
            return None if done is None else done.reshape(x.shape) if out is None else out
        if bias is None:
            bias = _NOTHING[char]
        elif _is_other(bias, x):
            return None
        if out is None:
            out = empty_as(x)
        elif _differs(out, x):
            return None
        try:
            return out if _forward(x, bias, out, kind, char, numbers) else None
        except TypeError:  # not the types it was compiled for; nothing ran
            return None

    def quick_backward(
        self, dy: Any, y: Any, kind: str, numbers: Numbers, bias: Any, bias_grad: Any, out: Any
    ) -> Array | None:
        char = _quick(dy)
        if char is None and (rows := _as_rows(dy, out, y)):
            done = self.quick_backward(rows[0], rows[2], kind, numbers, bias, bias_grad, rows[1])
            return None if done is None else done.reshape(dy.shape) if out is None else out
        if char is None or type(y) is not np.ndarray or y.dtype is not dy.dtype:
            return None
        if not y.flags.c_contiguous:  # told here: Numba takes long to say so
            return None
        if bias_grad is None:
            bias_grad = _NOTHING[char]
        elif _is_other(bias_grad, dy):
            return None
        if bias is None:
            bias = _NOTHING[char]
        elif _is_other(bias, dy):
            return None
        if out is None:
            out = empty_as(dy)
        elif _differs(out, dy):
            return None
        try:
            return out if _backward(dy, y, out, bias, bias_grad, kind, char, numbers) else None
        except TypeError:
            return None

    def forward(
        self, x: Array, bias: Array | None, y: Array, kind: str, numbers: Numbers, fresh: bool
    ) -> None:
        char, width = x.dtype.char, x.shape[-1] if x.ndim else 1
        added = _NOTHING[char] if bias is None else bias.view(STORED[char])
        _forward(_rows(x, width), added, _rows(y, width), kind, char, numbers)

    def backward(
        self,
        dy: Array,
        y: Array,
        dz: Array,
        bias: Array | None,
        bias_grad: Array | None,
        kind: str,
        numbers: Numbers,
        fresh: bool,
    ) -> None:
        char, width = dy.dtype.char, dy.shape[-1] if dy.ndim else 1
        added = _NOTHING[char] if bias is None else bias.view(STORED[char])
        written = _NOTHING[char] if bias_grad is None else bias_grad.view(STORED[char])
        arrays = _rows(dy, width), _rows(y, width), _rows(dz, width)
        _backward(*arrays, added, written, kind, char, numbers)


def _quick(x: Any) -> str | None:
    """The dtype's character if x needs no care; else None."""
    if type(x) is not np.ndarray or x.ndim != 2 or not x.flags.c_contiguous:
        return None
    return NATIVE.get(x.dtype)  # Numba takes another byte order for it


def _as_rows(x: Any, *others: Any) -> list[Any] | None:
    """Arrays of more than two axes, the others like x or None, as rows of the last one."""
    given = [x, *(array for array in others if array is not None)]
    for array in given:
        if type(array) is not np.ndarray or array.ndim < 3 or array.shape != x.shape:
            return None
        if not array.size or not array.flags.c_contiguous:
            return None
    width = x.shape[-1]
    return [None if a is None else a.reshape(-1, width) for a in (x, *others)]


def _is_other(vector: Any, x: Any) -> bool:
    return type(vector) is not np.ndarray or vector.dtype is not x.dtype or not vector.size


def _differs(out: Any, x: Any) -> bool:
    return type(out) is not np.ndarray or out.dtype is not x.dtype or not out.flags.c_contiguous


def _rows(array: Array, width: int) -> Array:
    """A contiguous array as compiled code takes it: rows, and bits in place of float16."""
    rows = array.reshape(-1, width)
    return rows.view(np.uint16) if rows.dtype.char == "e" else rows


def _forward(x: Any, bias: Any, y: Any, kind: str, char: str, numbers: Numbers) -> bool:
    """Run it if the arrays fit: by the crew, if it pays, or alone."""
    work = x.nbytes * (2 if kind in _QUICK else 4)
    alone, function = ready("forward", kind, char)
    if work >= HELPED:
        post = compiled("posted_forward", char)
        crew = get_crew()
        state = crew.post(
            lambda board, threads, _, patience, job: post(
                x, bias, y, *numbers, board, threads, patience, job, function
            ),
            x.size,
            WORDS,
            (x, bias, y),
            wake=work >= SHARED,
        )
        if state is not None:
            return state != REFUSED
    done: bool = alone(x, bias, y, *numbers, function)
    if work >= HELPED:
        crew.ended()
    return done


def _backward(
    dy: Any, y: Any, dz: Any, bias: Any, bias_grad: Any, kind: str, char: str, numbers: Numbers
) -> bool:
    work = dy.nbytes * (6 if KINDS[kind].from_x else 3)
    alone, function = ready("backward", kind, char)
    if work >= HELPED:
        post = compiled("posted_backward", char)
        crew = get_crew()
        _, _, tasks = cut.py_func(dy.size, max(1, bias.size, bias_grad.size))
        sums = np.empty((tasks, bias_grad.size))
        state = crew.post(
            lambda board, threads, _, patience, job: post(
                dy, y, dz, bias, sums, bias_grad, *numbers, board, threads, patience, job, function
            ),
            dy.size,
            WORDS,
            (dy, y, dz, bias, sums),
            wake=work >= SHARED,
        )
        if state is not None:
            if state != REFUSED:
                compiled("finish", char)(sums, bias_grad)
            return state != REFUSED
    done: bool = alone(dy, y, dz, bias, bias_grad, *numbers, function)
    if work >= HELPED:
        crew.ended()
    return done
