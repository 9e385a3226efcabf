"""From a public function to an engine: check the arrays, pick the engine, run the rule."""

from __future__ import annotations

from collections.abc import Sequence

from numpy import ndarray

from ..backend import Array
from ..backend.array_checks import check_arrays
from ..backend.failures import Explained
from ..backend.foreign import taken_in
from .engine_table import cpu_engine, find_engine
from .rule import Prepared


def launch(prepared: Prepared, arrays: tuple[Array, ...], engine: str) -> None:
    """Run a rule in place on `arrays` (param, grad, then states).

    Everything is checked before any write; on a GPU, what can't be compiled or finds no memory
    raises KernelError or DeviceMemoryError and has written nothing.
    """
    rule, coefficients = prepared
    if _on_cpu(arrays[0], engine) and cpu_engine().quick(rule, arrays, coefficients):
        return
    arrays = taken_in(rule.arguments, arrays)
    contiguous = check_arrays(rule.arguments, arrays)
    chosen = find_engine(engine, arrays[0], contiguous)
    if arrays[0].size:
        with Explained(rule.name, arrays[0], chosen.name):
            chosen.run(rule, arrays, coefficients, contiguous)


def launch_each(prepared: Prepared, calls: Sequence[tuple[Array, ...]], engine: str) -> None:
    """`launch` for each of several calls on one GPU: all of them, or none.

    Where one can't be compiled or finds no memory, nothing was written.
    """
    rule, coefficients = prepared
    contiguous = [check_arrays(rule.arguments, arrays) for arrays in calls]
    for arrays, run_of_memory in zip(calls, contiguous, strict=True):
        chosen = find_engine(engine, arrays[0], run_of_memory)
    full = [k for k, arrays in enumerate(calls) if arrays[0].size]
    if full:
        runs = [contiguous[k] for k in full]
        chosen.run_each(rule, [calls[k] for k in full], coefficients, runs)


def launch_together(
    prepared: Prepared, columns: tuple[tuple[Array, ...], ...], engine: str, order: ndarray
) -> bool:
    """`launch` for many calls in one go, where arrays are of the plainest kind; else nothing.

    Args:
        columns: all params, all their grads, then all of each state.
        engine: as the launches would get it.
        order: numbers from 0 to that of all arrays, at first in any order; the same array again
            makes the next call quicker.

    Returns:
        False where nothing was done: an engine has nothing quicker than a launch for each, or
        arrays are not native, of one dtype, each call's in one order without gaps, none sharing
        memory. They may be right all the same, or not: `check_arrays` tells.
    """
    rule, coefficients = prepared
    return _on_cpu(columns[0][0], engine) and cpu_engine().quick_each(
        rule, columns, coefficients, order
    )


def fits_together(columns: tuple[tuple[Array, ...], ...], engine: str, order: ndarray) -> bool:
    """Whether `launch_together` would run these arrays as they are now."""
    return _on_cpu(columns[0][0], engine) and cpu_engine().fits_each(columns, order)


def _on_cpu(first: Array, engine: str) -> bool:
    return type(first) is ndarray and (engine == "auto" or engine == cpu_engine().name)
