"""From a public function to an engine: check the arrays, pick the engine, run the rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy import ndarray

from ..backend import Array
from ..backend.failures import Explained
from ..backend.foreign import taken_in
from ..backend.layout import check_arrays
from .engines import cpu_engine, find_engine
from .rule import Prepared


def launch(prepared: Prepared, arrays: tuple[Array, ...], engine: str) -> None:
    """Run a rule in place on `arrays` (param, grad, then states).

    Everything is checked before any write; on a GPU, what can't be compiled or finds no memory
    raises KernelError or DeviceMemoryError and has written nothing.
    """
    rule, coefficients = prepared
    on_cpu = type(arrays[0]) is ndarray and (engine == "auto" or engine == cpu_engine().name)
    if on_cpu and cpu_engine().quick(rule, arrays, coefficients):
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


def bundled(columns: Sequence[Sequence[Array]], engine: str) -> Any:
    """The arrays of many launches checked as one, to be run at once by `launch_bundle`; or None.

    Args:
        columns: all params, all their grads, then all of each state.
        engine: as the launches would get it.

    Returns:
        None where an engine has nothing quicker than a launch for each, or arrays are not all of
        the plainest kind: contiguous, native, of one dtype, none sharing memory. They may be right
        all the same, or not: `check_arrays` tells.
    """
    on_cpu = type(columns[0][0]) is ndarray and (engine == "auto" or engine == cpu_engine().name)
    return cpu_engine().bundle(columns) if on_cpu else None


def launch_bundle(prepared: Prepared, bundle: Any) -> None:
    """Run a rule in place on arrays that `bundled` found fit."""
    cpu_engine().run_bundle(prepared[0], bundle, prepared[1])
