"""The functions of numba_calls.py, compiled for one kind and one dtype, and kept on disk."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np
from numba import types

from ..compiling.checksum import checksum
from ..compiling.jit import cfunc, njit, once
from ..compiling.python_text import rebound
from ..crew import board
from ..simd import exp, half, tanh
from ..simd.loops import OPTIONS, inline
from . import formula, numba_calls, numba_loops, numba_tasks
from .formula import FORMULAS

STORED = {"e": np.uint16, "f": np.float32, "d": np.float64}
"""What compiled code takes for the dtypes, by their character: bits in place of float16."""

_COMPUTED = {"e": np.float32, "f": np.float32, "d": np.float64}
_NUMBERS = {"e": types.uint16, "f": types.float32, "d": types.float64}
_SOURCES = (board, formula, exp, half, tanh, numba_calls, numba_loops, numba_tasks)
_REBUILT = {  # the functions that hold a name which is replaced
    numba_loops: (
        *("apply", "apply_in_place", "apply_biased", "apply_biased_in_place"),
        *("differentiate", "differentiate_in_place"),
    ),
    numba_tasks: ("forward_tasks", "backward_tasks"),
    numba_calls: ("run_of", "finish"),
}


@once
def compiled(name: str, kind: str, char: str) -> Any:
    """A function that takes arrays, for a dtype by its character; `kind` is "" where none counts.

    Its one signature admits only aligned, contiguous arrays of that dtype, writeable where they are
    written; the code itself refuses other shapes, and overlap.
    """
    return njit(_signature(name, _NUMBERS[char]), **OPTIONS)(_specialized(name, kind, char))


@once
def shared(name: str, kind: str, char: str) -> int:
    """The address of the C function void(low, high, job) for "forward" or "backward"."""
    signature = types.void(types.int64, types.int64, types.voidptr)
    function = _specialized(f"shared_{name}", kind, char)
    return int(cfunc(signature, **OPTIONS)(function).address)


def _signature(name: str, number: Any) -> Any:
    read, written = types.Array(number, 2, "C", readonly=True), types.Array(number, 2, "C")
    bias, bias_grad = types.Array(number, 1, "C", readonly=True), types.Array(number, 1, "C")
    words, integer, sums = types.int64[::1], types.int64, types.float64[:, ::1]
    post = (types.float64, words, integer, integer, words, integer)
    return {
        "forward": types.boolean(read, bias, written, types.float64),
        "backward": types.boolean(read, read, written, bias_grad, types.float64),
        "finish": types.void(sums, bias_grad),
        "posted_forward": integer(read, bias, written, *post),
        "posted_backward": integer(read, read, written, sums, bias_grad, *post),
    }[name]


def _specialized(name: str, kind: str, char: str) -> FunctionType:
    """The function, and those that it calls, with their names replaced.

    All get names of their own: code that was kept on disk by several processes can then be loaded
    into one, and is never that of older sources.
    """
    scope: dict[str, Any] = {"COMPUTED": _COMPUTED[char], "STORED": STORED[char]}
    if kind:
        chosen = FORMULAS[kind if name.endswith("forward") else f"{kind}_gradient"]
        scalars = {"exp": exp.clamped_exp, "tanh": tanh.tanh, "where": inline(_where)}
        scope["FORMULA"] = inline(rebound(chosen, scalars))
    suffix = f"{name.split('_')[-1]}_{kind}_{char}_{checksum(*_SOURCES, _where)}"
    for module, names in _REBUILT.items():
        for each in names:
            scope[each] = inline(_renamed(getattr(module, each), suffix, scope))
    return _renamed(getattr(numba_calls, name), suffix, scope)


def _renamed(function: Any, suffix: str, scope: dict[str, Any]) -> FunctionType:
    unique = f"{function.__name__}_{suffix}"
    code = function.__code__.replace(co_name=unique, co_qualname=unique)
    return FunctionType(code, {**function.__globals__, **scope}, unique)


def _where(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b
