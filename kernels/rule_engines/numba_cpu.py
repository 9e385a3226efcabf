"""Engine "numba": one loop over memory on the CPU, in SIMD instructions, threaded where it pays.

- Arrays that fill their memory in one order of axes, of whatever shape, are one run of elements.
  Small ones are checked and stepped by one call of compiled code (1 us), on the caller's core.
- From 6 MB on, a crew of threads shares the loop (crew.py); from 1 MB on, if helpers are awake.
- A gradient that fills its memory in another order is copied into the parameter's first.
- Any other layout: NumPy's iterator hands the loop cache-sized contiguous pieces, converted where
  needed, and writes them back: still one pass over memory, no whole copy.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backend import Array
from ...backend.memory_pool import empty_like
from ..compiling.dtypes import compute_dtype
from ..compiling.python_text import scalar_names
from ..crew.board import lead
from ..crew.crew import ENDED, HELPED, REFUSED, SHARED, UNENDED, get_crew
from ..groups import groups_of, of_group
from ..rule import Rule
from ..simd.transpose import copy
from ..usable import numba_missing, numba_usable
from .base import Engine, Kept
from .entry import DONE, LARGE, MIXED, UNCOMPILED, UNFIT, Plan, job_of, plan_of
from .numba_loops import FIRST_SCALAR, shared_loop

if TYPE_CHECKING:
    from .numba_bundle import Bundle

PIECE = 8192  # elements of a piece of a strided array


class NumbaEngine(Engine):
    """Compiles each rule when it is first used, and keeps the machine code on disk."""

    name = "numba"
    devices = ("cpu",)

    def __init__(self) -> None:
        get_crew()  # a wrong ONEPASS_NUM_THREADS is told now, not at the first large step

    @cached_property
    def _step_one(self) -> Any:
        """It compiles when it is first needed: training by captured steps does without."""
        return _entry().step_one

    def missing(self) -> tuple[str, str]:
        return numba_missing()

    def quick(self, rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> bool:
        plan = plan_of(rule)
        state = self._step_one(id(arrays), id(coefficients), plan.address)
        if state == DONE:
            return True
        if state == UNCOMPILED and plan.compile(arrays[0].dtype):
            return self.quick(rule, arrays, coefficients)
        if state == MIXED:
            param, grad, *states = arrays
            return self.quick(rule, (param, _straight(grad, param), *states), coefficients)
        return state == LARGE and _share(plan, arrays, coefficients)

    def quick_each(
        self,
        rule: Rule,
        columns: tuple[tuple[Array, ...], ...],
        coefficients: tuple[float, ...],
        kept: Kept,
    ) -> bool:
        if not numba_usable():
            return False
        plan, count = plan_of(rule), len(columns[0])
        rows = groups_of((rule, coefficients)) if kept.groups.size else 1
        given = id(columns), count, id(coefficients), rows, plan.address, kept.groups, kept.order
        state = _bundles().step_each(*given)
        if state == DONE:
            return True
        if state == UNCOMPILED and plan.compile(columns[0][0].dtype):
            return self.quick_each(rule, columns, coefficients, kept)
        if state == MIXED:
            params, grads, *states = columns
            straight = tuple(map(_straight, grads, params))
            return self.quick_each(rule, (params, straight, *states), coefficients, kept)
        if state == LARGE and count == 1:
            if kept.groups.size:
                coefficients = of_group((rule, coefficients), int(kept.groups[0]))[1]
            return _share(plan, tuple(column[0] for column in columns), coefficients)
        if state in (UNFIT, UNCOMPILED):
            return False
        bundle = _bundles().bundle_of(columns, kept)
        if bundle is not None:
            _run_bundle(rule, bundle, coefficients)
        return bundle is not None

    def fits_each(self, columns: tuple[tuple[Array, ...], ...], kept: Kept) -> bool:
        if not numba_usable():
            return False
        kind = _bundles().read(columns, kept.order)[0]
        return kind >= 0 or kind == -MIXED

    def run(
        self,
        rule: Rule,
        arrays: tuple[Array, ...],
        coefficients: tuple[float, ...],
        contiguous: bool,
    ) -> None:
        plain = tuple(map(np.asarray, arrays))  # a subclass, such as of mapped files, is none
        if not self.quick(rule, plain, coefficients):
            with _pieces(arrays) as pieces:
                for piece in pieces:
                    if not self.quick(rule, piece, coefficients):
                        _run_piece(rule, piece, coefficients)

    def warmup(self, rule: Rule, dtype: str) -> None:
        plan_of(rule).compile(np.dtype(dtype))
        shared_loop(rule, compute_dtype(dtype))  # for pieces of arrays in other layouts
        get_crew()


@cache
def _entry() -> Any:
    """The module, which compiles what it holds."""
    from . import numba_entry

    return numba_entry


@cache
def _bundles() -> Any:
    """The module, which compiles when it is first needed: by an optimizer object."""
    from . import numba_bundle

    return numba_bundle


def _straight(grad: np.ndarray, param: np.ndarray) -> np.ndarray:
    """The gradient, as a copy in the parameter's order of axes where it has another."""
    if grad.strides == param.strides:
        return grad
    straight = empty_like(param)
    copy(straight, grad)
    return straight


def _share(plan: Plan, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> bool:
    """Run the loop by the crew, or alone if no helper is there; False if it was refused."""
    first, crew = arrays[0], get_crew()
    size, function = first.size, shared_loop(plan.rule, first.dtype.name).address
    wake = first.nbytes * len(arrays) >= SHARED

    def posting(board: np.ndarray, threads: int, chunk: int, patience: int, job: np.ndarray) -> int:
        address = job.ctypes.data
        if not _entry().write_job(id(arrays), id(coefficients), plan.address, address):
            return REFUSED
        ended = lead(board, threads, function, size, chunk, address, patience)
        return ENDED if ended else UNENDED

    state = crew.post(posting, size, plan.words, arrays, wake)
    if state is not None:
        return state != REFUSED
    job = np.empty(plan.words, np.int64)
    if _entry().write_job(id(arrays), id(coefficients), plan.address, job.ctypes.data):
        crew.alone(function, size, job)
        state = ENDED
    crew.ended()
    return state == ENDED


def _run_bundle(rule: Rule, bundle: Bundle, coefficients: tuple[float, ...]) -> None:
    function, width = shared_loop(rule, bundle.dtype.name).address, len(scalar_names(rule))
    job = bundle.job(function, width, coefficients)
    walk = _bundles().walk
    if bundle.nbytes >= HELPED:
        wake = bundle.nbytes >= SHARED
        get_crew().run(walk.address, bundle.size, job, bundle, wake=wake)
    else:
        get_crew().alone(walk.address, bundle.size, job)


def _pieces(arrays: tuple[Array, ...]) -> Any:
    """The iterator over pieces of the arrays, each of which is contiguous and of a native dtype."""
    contiguous = ["contig", "aligned", "nbo"]
    written, read = ["readwrite", *contiguous], ["readonly", *contiguous]
    iterate: Any = np.nditer
    return iterate(
        list(arrays),
        flags=["external_loop", "buffered", "grow_inner"],
        op_flags=[written, read, *[written] * (len(arrays) - 2)],
        op_dtypes=[np.dtype(compute_dtype(arrays[0].dtype.name))] * len(arrays),
        casting="same_kind",
        buffersize=PIECE,
    )


def _run_piece(rule: Rule, piece: tuple[np.ndarray, ...], coefficients: tuple[float, ...]) -> None:
    """The loop over arrays that compiled code can't look at: where Python's fields aren't known."""
    first, job = piece[0], job_of(rule, piece)
    job.view(np.float64)[FIRST_SCALAR:] = coefficients
    get_crew().alone(shared_loop(rule, first.dtype.name).address, first.size, job)
