"""From a public function to an engine: check the arrays, pick the engine, run the rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from numpy import ndarray

from ..backend import Array
from ..backend.beside_torch import beside_torch
from ..backend.checks.arrays import check_arrays
from ..backend.checks.numbers import random_word
from ..backend.failures import Explained
from ..backend.foreign import taken_in
from .engine_table import Engine, Kept, cpu_engine, find_engine, gpu_engine
from .gradient_norm import norm
from .groups import Runs as Runs
from .groups import joined as joined
from .groups import of_group
from .groups import with_average as with_average
from .groups import with_factor as with_factor
from .groups import with_range as with_range
from .rule import AVERAGE as AVERAGE
from .rule import Prepared
from .state_formats.contract import is_encoded
from .state_formats.step import Rounding, step_one

Columns: TypeAlias = tuple[tuple[Array, ...], ...]
Check: TypeAlias = Callable[[Columns], None]


def launch(
    prepared: Prepared,
    arrays: tuple[Any, ...],
    engine: str,
    function: str = "",
    seed: int | None = None,
    step: int | None = None,
    remainder: Array | None = None,
) -> None:
    """Run a rule in place on `arrays` (param, grad, then states).

    Everything is checked before any write; on a GPU, what can't be compiled or finds no memory
    raises KernelError or DeviceMemoryError and has written nothing.

    Args:
        function, seed, step, remainder: as `Rounding` has them, for arrays that are encoded.
    """
    rule, coefficients = prepared
    if seed is not None:  # beside states in float32, too
        random_word("seed", seed)
    at_once = _at_once(arrays[0], engine) if remainder is None else None
    if at_once is not None and at_once.quick(rule, arrays, coefficients):
        return
    if is_encoded(arrays, remainder):
        return step_one(prepared, arrays, engine, Rounding(function, seed, step, remainder))
    if (beside := beside_torch(arrays)) is None:
        _launch(prepared, arrays, engine)
    else:
        with beside:
            _launch(prepared, arrays, engine)


def _launch(prepared: Prepared, arrays: tuple[Array, ...], engine: str) -> None:
    """`launch` of arrays that may be anything."""
    rule, coefficients = prepared
    arrays = taken_in(rule.arguments, arrays)
    contiguous = check_arrays(rule.arguments, arrays)
    chosen = find_engine(engine, arrays[0], contiguous)
    if arrays[0].size:
        with Explained(rule.name, arrays[0], chosen.name):
            chosen.run(rule, arrays, coefficients, contiguous)


def launch_all(prepared: Prepared, columns: Columns, engine: str, kept: Kept, check: Check) -> None:
    """`launch` for each of many calls, all or none of which run.

    In one go where the arrays are of the plainest kind: native, of one dtype (on a GPU in one
    launch a dtype), each call's in one order without gaps, none sharing memory. Else, once they
    are checked, one by one; on a GPU all of them are compiled and given memory before the first.

    Args:
        prepared: for one group of calls, or `joined` for those that `kept.groups` tells of.
        columns: all params, all their grads, then all of each state.
        engine: as the launches would get it.
        kept: what the last call has left; it makes the next one quicker.
        check: raises where the columns don't fit together; it is asked where they are not of the
            plainest kind, and knows what its caller calls them.
    """
    rule, coefficients = prepared
    first = columns[0][0]
    at_once = _at_once(first, engine)
    if at_once is not None and at_once.quick_each(rule, columns, coefficients, kept):
        return
    _check(columns, engine, check)
    calls = list(zip(*columns, strict=True))
    groups = kept.groups.tolist() or [0] * len(calls)
    each = [of_group(prepared, group) for group in groups]
    if len(calls) > 1 and not isinstance(first, ndarray):
        _launch_each(each, calls, engine)
    else:
        for own, arrays in zip(each, calls, strict=True):
            launch(own, arrays, engine)


def check_all(columns: Columns, engine: str, kept: Kept, check: Check) -> None:
    """Raise where `launch_all` would, before anything is written."""
    at_once = _at_once(columns[0][0], engine)
    if at_once is None or not at_once.fits_each(columns, kept):
        _check(columns, engine, check)


def norm_of_all(columns: Columns, engine: str, kept: Kept) -> float:
    """`global_norm` of the grads, once `check_all` has passed them; engine "array" takes array
    expressions on a GPU, too."""
    at_once = _at_once(columns[0][0], engine)
    squares = None if at_once is None else at_once.squares_each(columns, kept)
    return norm(columns[1], squares, expressions=engine == "array")


def _check(columns: Columns, engine: str, check: Check) -> None:
    check(columns)
    if len(columns[0]) > 1:  # a launch finds its own engine, but a later one must not fail
        for target, gradient, *_ in zip(*columns, strict=True):
            find_engine(engine, target, target.flags.c_contiguous and gradient.flags.c_contiguous)


def _launch_each(
    prepared: Sequence[Prepared], calls: Sequence[tuple[Array, ...]], engine: str
) -> None:
    """`launch` for each of several calls on one GPU, of one rule: all of them, or none.

    Where one can't be compiled or finds no memory, nothing was written.
    """
    rule = prepared[0][0]
    contiguous = [check_arrays(rule.arguments, arrays) for arrays in calls]
    for arrays, run_of_memory in zip(calls, contiguous, strict=True):
        chosen = find_engine(engine, arrays[0], run_of_memory)
    full = [k for k, arrays in enumerate(calls) if arrays[0].size]
    if full:
        runs = [contiguous[k] for k in full]
        coefficients = [prepared[k][1] for k in full]
        chosen.run_each(rule, [calls[k] for k in full], coefficients, runs)


def _at_once(first: Array, engine: str) -> Engine | None:
    """Who may run on unchecked arrays, of which this is the first."""
    if type(first) is not ndarray:
        return gpu_engine(type(first), engine)
    found = cpu_engine()
    return found if engine == "auto" or engine == found.name else None
