"""The functions of numba_calls.py, compiled for one kind and one dtype, and kept on disk."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from numba import types

from ...compiling.dtypes import COMPUTED, STORED
from ...compiling.jit import njit, once
from ...compiling.specialize import specialize
from ...simd import exp, tanh
from ...simd.half import NUMBERS
from ...simd.loops import OPTIONS, c_function, inline
from ..formula import FORMULAS
from . import numba_calls


@once
def compiled(name: str, kind: str, char: str) -> Any:
    """A function that takes arrays, for a dtype by its character; `kind` is "" where none counts.

    Its one signature admits only aligned, contiguous arrays of that dtype, writeable where they are
    written; the code itself refuses other shapes, and overlap.
    """
    posted = name.startswith("posted")  # while helpers that slept take Python's lock to wake
    signature = _signature(name, NUMBERS[char])
    return njit(signature, nogil=posted, **OPTIONS)(_specialized(name, kind, char))


@once
def shared(name: str, kind: str, char: str) -> int:
    """The address of the C function void(low, high, job) for "forward" or "backward"."""
    function = _specialized(f"shared_{name}", kind, char)
    return int(c_function(function).address)


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
    names = {"COMPUTED": COMPUTED[char], "STORED": STORED[char]}
    if kind:
        chosen = FORMULAS[kind if name.endswith("forward") else f"{kind}_gradient"]
        scalars = {"exp": exp.clamped_exp, "tanh": tanh.tanh, "where": inline(_where)}
        names["FORMULA"] = inline(specialize(chosen, **scalars))
    return specialize(getattr(numba_calls, name), **names)


def _where(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b
