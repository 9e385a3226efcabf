"""The innermost loops of activations on the CPU: one run of memory each, in SIMD.

They are compiled once for every kind: FORMULA is replaced then (numba_compile.py). A result that
replaces its input has loops of its own; to the others the two arrays would overlap, and they would
go element by element.
"""

from __future__ import annotations

from typing import Any

from ...simd.half import load, store
from ...simd.loops import inline

FORMULA: Any = None  # one of formula.py, by ../python_calls.py


def apply(x: Any, y: Any, first: Any, second: Any) -> None:
    """y = f(x)."""
    for i in range(y.size):
        (value,) = FORMULA(load(x, i), first, second)
        store(y, i, value)


def apply_in_place(y: Any, first: Any, second: Any) -> None:
    for i in range(y.size):
        (value,) = FORMULA(load(y, i), first, second)
        store(y, i, value)


def apply_biased(x: Any, bias: Any, y: Any, first: Any, second: Any) -> None:
    """y = f(x + bias); bias may be longer."""
    for i in range(y.size):
        (value,) = FORMULA(load(x, i) + load(bias, i), first, second)
        store(y, i, value)


def apply_biased_in_place(bias: Any, y: Any, first: Any, second: Any) -> None:
    for i in range(y.size):
        (value,) = FORMULA(load(y, i) + load(bias, i), first, second)
        store(y, i, value)


def differentiate(dy: Any, y: Any, bias: Any, dz: Any, first: Any, second: Any) -> None:
    """dz = dy f'(z); bias may be longer. Of kinds that are told from y it is of any length: nothing
    looks at it, and compiled code doesn't read it."""
    for i in range(dz.size):
        (value,) = FORMULA(load(dy, i), load(y, i), load(bias, i), first, second)
        store(dz, i, value)


def differentiate_in_place(y: Any, bias: Any, dz: Any, first: Any, second: Any) -> None:
    for i in range(dz.size):
        (value,) = FORMULA(load(dz, i), load(y, i), load(bias, i), first, second)
        store(dz, i, value)


@inline
def add(sums: Any, a: Any) -> None:
    """sums += a; sums may be longer."""
    for j in range(a.size):
        sums[j] += load(a, j)


@inline
def add_four(sums: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    """The same for four rows, for which the sums go through memory once."""
    for j in range(sums.size):
        sums[j] += (load(a, j) + load(b, j)) + (load(c, j) + load(d, j))
