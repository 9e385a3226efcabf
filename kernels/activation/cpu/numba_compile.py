"""The functions of numba_calls.py, compiled for one kind and one dtype, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import types

from ...compiling.dtypes import COMPUTED, STORED
from ...compiling.jit import njit, once
from ...compiling.python_text import where
from ...compiling.specialize import inlined, specialize
from ...simd import exp, log1p, normal_cdf, tanh
from ...simd.half import NUMBERS
from ...simd.loops import OPTIONS, c_function, loop
from ..formula import KINDS
from ..python_calls import with_places
from . import numba_calls


@once
def compiled(name: str, char: str) -> Any:
    """A function that takes arrays, for a dtype by its character.

    Its one signature admits only aligned, contiguous arrays of that dtype, writeable where they are
    written; the code itself refuses other shapes, and overlap.
    """
    posted = name.startswith("posted")  # while helpers that slept take Python's lock to wake
    function = specialize(getattr(numba_calls, name), **_types(char))
    return njit(_signature(name, NUMBERS[char]), nogil=posted, **OPTIONS)(function)


@once
def shared(name: str, kind: str, char: str) -> Any:
    """The C function void(low, high, job) for "forward" or "backward"."""
    return c_function(_specialized(name, kind, char))


@once
def ready(name: str, kind: str, char: str) -> tuple[Any, int]:
    """A whole call, and the address of the tasks that it is to do."""
    return compiled(name, char), shared(name, kind, char).address


def _signature(name: str, number: Any) -> Any:
    read, written = types.Array(number, 2, "C", readonly=True), types.Array(number, 2, "C")
    bias, bias_grad = types.Array(number, 1, "C", readonly=True), types.Array(number, 1, "C")
    words, integer, sums = types.int64[::1], types.int64, types.float64[:, ::1]
    numbers = types.float64, types.float64
    post = (*numbers, words, integer, integer, words, integer)
    return {
        "forward": types.boolean(read, bias, written, *numbers, integer),
        "backward": types.boolean(read, read, written, bias, bias_grad, *numbers, integer),
        "finish": types.void(sums, bias_grad),
        "posted_forward": integer(read, bias, written, *post),
        "posted_backward": integer(read, read, written, bias, sums, bias_grad, *post),
    }[name]


def _types(char: str) -> dict[str, Any]:
    return {"COMPUTED": COMPUTED[char], "STORED": STORED[char]}


def _specialized(name: str, kind: str, char: str) -> FunctionType:
    formula = kind if name == "forward" else f"{kind}_gradient"
    compiled = with_places(formula, COMPUTED[char], _compiled)
    names = {"FORMULA": loop(compiled), "FROM_X": KINDS[kind].from_x, **_types(char)}
    return specialize(getattr(numba_calls, f"shared_{name}"), **names)


_SCALARS = {
    "absolute": abs,
    "exp": exp.clamped_exp,
    "log1p": log1p.log1p,
    "normal_cdf": normal_cdf.normal_cdf,
    "tanh": tanh.tanh,
}


def _compiled(formula: Callable[..., Any]) -> Any:
    return loop(specialize(formula, **_SCALARS, where=inlined(where)))
