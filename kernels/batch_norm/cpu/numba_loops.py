"""The innermost loops of batch normalization on the CPU: one run of memory each, in SIMD.

What belongs to a channel comes as `per`: a tuple of numbers for a run within one channel (a
"plane"), an array for a run over several short channels (its "columns"), which holds a stretch of
`SKEW` numbers for each role, one a column. It is a single array at constant distances because the
runs are short, and all pointers of a vector loop are compared for overlap each time it starts.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from ...compiling.python_text import maximum
from ...compiling.specialize import specialize
from ...simd.half import load, store
from ...simd.loops import inline, loop, part, reduction
from ...simd.memory import span
from .. import formula

SKEW = 2048 + 16  # columns at most; not a power of two, which would crowd a few sets of the cache
CENTER, SCALE, SHIFT, SLOPE, OFFSET, FIRST, SECOND = range(7)
ROLES = 7

normalized = inline(formula.normalized)
input_gradient = inline(formula.input_gradient)
added = inline(formula.added)
rectified = inline(specialize(formula.rectified, maximum=inline(maximum)))


def value(per: Any, role: int, i: int) -> Any:
    """What `per` holds in `role` for element i."""
    raise NotImplementedError("compiled code only")


@overload(value)
def _value(per, role, i):
    if isinstance(per, types.BaseTuple):
        return lambda per, role, i: per[role]
    return lambda per, role, i: per[role * SKEW + i]


@part
def columns_of(per: Any, role: Any, width: Any) -> Any:
    """The columns of one role."""
    return span(per, role * SKEW, role * SKEW + width)


def plus(y: Any, residual: Any, i: int) -> Any:
    """y and the residual of element i, which may be None for 0."""
    raise NotImplementedError("compiled code only")


@overload(plus)
def _plus(y, residual, i):
    def plus_residual(y, residual, i):
        (sum_,) = added(y, load(residual, i))
        return sum_

    return (lambda y, residual, i: y) if isinstance(residual, types.NoneType) else plus_residual


@inline
def _gated(dy: Any, x: Any, i: Any, per: Any, zero: Any, relu: bool) -> Any:
    """dy[i], or 0 where ReLU stopped it."""
    g = load(dy, i)
    if relu:
        (y,) = normalized(
            load(x, i), value(per, CENTER, i), value(per, SCALE, i), value(per, SHIFT, i)
        )
        return zero if y <= zero else g
    return g


@reduction
def plane_moments(x: Any, center: Any, zero: Any) -> Any:
    """Sums of x - center and of its square."""
    first = second = zero
    for i in range(x.size):
        d = load(x, i) - center
        first += d
        second += d * d
    return first, second


@loop
def column_moments(x: Any, per: Any) -> None:
    """The same, added to FIRST and SECOND of each column."""
    for i in range(x.size):
        d = load(x, i) - per[CENTER * SKEW + i]
        per[FIRST * SKEW + i] += d
        per[SECOND * SKEW + i] += d * d


@loop
def column_moments_4(x: Any, x2: Any, x3: Any, x4: Any, per: Any) -> None:
    """The same for four rows, whose sums go through memory once."""
    for i in range(x.size):
        center = per[CENTER * SKEW + i]
        d, d2 = load(x, i) - center, load(x2, i) - center
        d3, d4 = load(x3, i) - center, load(x4, i) - center
        per[FIRST * SKEW + i] += (d + d2) + (d3 + d4)
        per[SECOND * SKEW + i] += (d * d + d2 * d2) + (d3 * d3 + d4 * d4)


@reduction
def plane_products(dy: Any, x: Any, per: Any, zero: Any, relu: bool) -> Any:
    """Sums of dy and of dy (x - center)."""
    first = second = zero
    for i in range(x.size):
        g = _gated(dy, x, i, per, zero, relu)
        first += g
        second += g * (load(x, i) - value(per, CENTER, i))
    return first, second


@loop
def column_products(dy: Any, x: Any, per: Any, zero: Any, relu: bool) -> None:
    """The same, added to FIRST and SECOND of each column."""
    for i in range(x.size):
        g = _gated(dy, x, i, per, zero, relu)
        per[FIRST * SKEW + i] += g
        per[SECOND * SKEW + i] += g * (load(x, i) - per[CENTER * SKEW + i])


@loop
def column_products_2(dy: Any, x: Any, dy2: Any, x2: Any, per: Any, zero: Any, relu: bool) -> None:
    """The same for two rows, whose sums go through memory once."""
    for i in range(x.size):
        g, g2 = _gated(dy, x, i, per, zero, relu), _gated(dy2, x2, i, per, zero, relu)
        center = per[CENTER * SKEW + i]
        per[FIRST * SKEW + i] += g + g2
        per[SECOND * SKEW + i] += g * (load(x, i) - center) + g2 * (load(x2, i) - center)


@loop
def pass_gate(dy: Any, y: Any, dz: Any, zero: Any) -> None:
    """dz, which is dy, or 0 where ReLU stopped it."""
    for i in range(dz.size):
        store(dz, i, zero if load(y, i) <= zero else load(dy, i))


@loop
def close_gate(dz: Any, y: Any, zero: Any) -> None:
    """The same where dz takes the memory of dy."""
    for i in range(dz.size):
        store(dz, i, zero if load(y, i) <= zero else load(dz, i))


@loop
def normalize(x: Any, residual: Any, y: Any, per: Any, zero: Any, relu: bool) -> None:
    """y from x and the residual, or None."""
    for i in range(x.size):
        (result,) = normalized(
            load(x, i), value(per, CENTER, i), value(per, SCALE, i), value(per, SHIFT, i)
        )
        result = plus(result, residual, i)
        if relu:
            (result,) = rectified(result, zero)
        store(y, i, result)


@loop
def differentiate(dy: Any, x: Any, dx: Any, per: Any, zero: Any, relu: bool) -> None:
    """dx from dy and x."""
    for i in range(x.size):
        g = _gated(dy, x, i, per, zero, relu)
        (result,) = input_gradient(
            g,
            load(x, i),
            value(per, CENTER, i),
            value(per, SCALE, i),
            value(per, SLOPE, i),
            value(per, OFFSET, i),
        )
        store(dx, i, result)
