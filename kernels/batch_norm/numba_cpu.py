"""Engine "numba": batch normalization in SIMD loops, large arrays shared by the crew of threads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numba
import numpy as np

from ...backend import Array
from ..compiling.dtypes import COMPUTED, STORED
from ..compiling.jit import cfunc, njit, once
from ..compiling.specialize import specialize
from ..crew.atomics import call
from ..crew.crew import get_crew
from ..simd.half import why_no_half
from ..simd.loops import OPTIONS
from . import numba_tasks
from .contract import BatchNormEngine, How, Running
from .cpu_plan import SHARED, Plan, plan
from .layout import Layout
from .numba_tasks import (
    ADDRESS,
    APPLY,
    FINISH,
    KEEP,
    PHASE,
    REALS,
    START,
    SUM,
    THREADS,
    WORDS,
)

_NOTHING = np.empty(0)


class NumbaBatchNorm(BatchNormEngine):
    """One call of compiled code a direction; large arrays are shared by the crew."""

    name = "numba"

    def missing(self, kind: str) -> str:
        return why_no_half(kind)

    def forward(self, x: Array, y: Array, how: How, running: Running | None) -> Array:
        layout, gamma, beta, eps, relu = how
        channels, kind = layout.channels, x.dtype.char
        cut = plan(layout.outer, channels, layout.inner, x.itemsize)
        work = np.empty(6 * channels, COMPUTED[kind])
        kept = work[: 3 * channels]
        mean, var, momentum = running or (kept, kept, 0.0)
        _run(
            ("forward", kind, relu),
            cut,
            (START, SUM, FINISH if running is None else FINISH | KEEP, APPLY),
            (eps, momentum, float(layout.count)),
            _memory(layout, x),
            _memory(layout, y),
            *_given(gamma, beta, channels, kind),
            mean,
            var,
            kept,
            work[3 * channels :],
            np.empty(2 * cut.parts * channels),
        )
        return kept.reshape(3, channels)

    def backward(
        self, dy: Array, x: Array, dx: Array, how: How, kept: Array
    ) -> tuple[Array, Array]:
        layout, gamma, beta, _, relu = how
        channels, kind = layout.channels, dy.dtype.char
        cut = plan(layout.outer, channels, layout.inner, dy.itemsize)
        work = np.empty(7 * channels, COMPUTED[kind])
        _run(
            ("backward", kind, relu),
            cut,
            (START, SUM, FINISH, APPLY),
            (0.0, 0.0, float(layout.count)),
            _memory(layout, x),
            _memory(layout, dx),
            *_given(gamma, beta, channels, kind),
            _memory(layout, dy),
            kept.reshape(-1),
            work,
            work[2 * channels :],
            np.empty(2 * cut.parts * channels),
        )
        return work[:channels], work[channels : 2 * channels]

    def inference(self, x: Array, y: Array, how: How, mean: Array, var: Array) -> None:
        layout, gamma, beta, eps, relu = how
        channels, kind = layout.channels, x.dtype.char
        cut = plan(layout.outer, channels, layout.inner, x.itemsize)
        work = np.empty(3 * channels, COMPUTED[kind])
        _run(
            ("forward", kind, relu),
            cut,
            (FINISH, APPLY),
            (eps, 0.0, 0.0),
            _memory(layout, x),
            _memory(layout, y),
            *_given(gamma, beta, channels, kind),
            mean,
            var,
            work,
            work,
            _NOTHING,
        )


def _memory(layout: Layout, array: Array) -> Array:
    """An array as compiled code takes it: one run of memory, and bits in place of float16."""
    flat = layout.flat(array)
    return flat.view(np.uint16) if flat.dtype.char == "e" else flat


@lru_cache(maxsize=64)
def _constant(value: float, channels: int, kind: str) -> np.ndarray:
    return np.full(channels, value, COMPUTED[kind])


def _given(
    gamma: Array | None, beta: Array | None, channels: int, kind: str
) -> tuple[Array, Array]:
    """gamma and beta, or what stands for None."""
    return (
        _constant(1.0, channels, kind) if gamma is None else gamma,
        _constant(0.0, channels, kind) if beta is None else beta,
    )


def _run(
    which: tuple[str, str, bool],
    cut: Plan,
    phases: tuple[int, ...],
    reals: tuple[float, float, float],
    *arrays: Array,
) -> None:
    """Run the phases of a job: all of them at once, or those that sum and apply by the crew."""
    function, job = task(*which), _template(cut).copy()
    tasks, crew = cut.blocks * cut.parts, get_crew()
    shared = arrays[0].nbytes >= SHARED
    together = (sum(phases),) if cut.parts == 1 else phases
    job[THREADS] = crew.threads
    alone = 0 if shared or cut.parts > 1 else tasks
    _start(job, together[0], function, alone, *reals, *arrays)
    if alone:
        return
    for phase in together:
        job[PHASE] = phase
        if shared and phase & (SUM | APPLY):
            crew.run(function, tasks, job, arrays, chunk=1, elements=cut.total)
        else:
            crew.alone(function, tasks, job)


@lru_cache(maxsize=256)
def _template(cut: Plan) -> np.ndarray:
    job = np.zeros(WORDS, dtype=np.int64)
    job[:PHASE] = cut
    return job


@njit(error_model="numpy")
def _start(
    job: Any, phases: int, function: int, tasks: int, eps: float, momentum: float, m: float,
    a0: Any, a1: Any, a2: Any, a3: Any, a4: Any, a5: Any, a6: Any, a7: Any, a8: Any,
) -> None:  # fmt: skip
    """Pack addresses and numbers into a job, and run its first `tasks`.

    In Python nine addresses take longer than batch normalization of a small array.
    """
    addresses = (
        a0.ctypes.data, a1.ctypes.data, a2.ctypes.data, a3.ctypes.data, a4.ctypes.data,
        a5.ctypes.data, a6.ctypes.data, a7.ctypes.data, a8.ctypes.data,
    )  # fmt: skip
    for k in range(len(addresses)):
        job[ADDRESS + k] = addresses[k]
    job[PHASE] = phases
    reals = job.view(np.float64)[REALS:]
    reals[0], reals[1], reals[2], reals[3] = eps, momentum, 1.0 - momentum, m
    if tasks:
        call(function, 0, tasks, job.ctypes.data)


@once
def task(name: str, kind: str, relu: bool) -> int:
    """The address of the C function void(low, high, job) of numba_tasks.py for one dtype."""
    return int(compiled(name, kind, relu).address)


@once
def compiled(name: str, kind: str, relu: bool) -> Any:
    names = {"COMPUTED": COMPUTED[kind], "STORED": STORED[kind], "RELU": relu}
    signature = numba.types.void(numba.types.int64, numba.types.int64, numba.types.voidptr)
    return cfunc(signature, **OPTIONS)(specialize(getattr(numba_tasks, name), **names))
