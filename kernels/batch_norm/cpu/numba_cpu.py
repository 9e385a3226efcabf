"""Engine "numba": batch normalization in SIMD loops, large arrays shared by the crew of threads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ....backend import Array
from ...compiling.dtypes import COMPUTED, STORED
from ...compiling.jit import once
from ...compiling.specialize import specialize
from ...crew.crew import get_crew
from ...simd.half import why_no_half
from ...simd.loops import c_function
from ...simd.memory import memory
from ..contract import NOWHERE, BatchNormEngine, Gate, How, Places, Running
from ..layout import Layout
from . import numba_tasks
from .numba_beside import nothing
from .numba_job import ALL, APPLY, FINISH, START, STEP, SUM, put_beside, start, template
from .plan import SHARED, Plan, plan

_NOTHING = {kind: (np.empty(0, STORED[kind]), np.empty(0, COMPUTED[kind])) for kind in STORED}
_NO_SUMS = np.empty(0)
WHOLE = (ALL, SUM, APPLY)
"""The steps over whole arrays, which threads share."""


class NumbaBatchNorm(BatchNormEngine):
    """One call of compiled code a direction; large arrays are shared by the crew."""

    name = "numba"

    def missing(self, kind: str) -> str:
        return why_no_half(kind)

    def forward(
        self, x: Array, y: Array, how: How, running: Running | None, residual: Array | None = None
    ) -> Array:
        work = forward_work(how, x.dtype.char)
        _run(forward_call(x, y, how, running, work, residual))
        return kept_of(work)

    def backward(
        self,
        dy: Array,
        x: Array,
        dx: Array,
        how: How,
        kept: Array,
        places: Places = NOWHERE,
        gate: Gate | None = None,
    ) -> tuple[Array, Array]:
        channels = how.layout.channels
        work = backward_work(how, dy.dtype.char)
        _run(backward_call(dy, x, dx, how, kept, work, gate=gate))
        return work[:channels], work[channels : 2 * channels]

    def inference(
        self,
        x: Array,
        y: Array,
        how: How,
        mean: Array,
        var: Array,
        residual: Array | None = None,
    ) -> None:
        _run(inference_call(x, y, how, mean, var, residual))

    def moments(self, x: Array, layout: Layout) -> Array:
        how = How(layout, None, None, 1.0, False)
        call = forward_call(x, x, how, None, forward_work(how, x.dtype.char))
        _take(call, (SUM, FINISH))
        return _sums_of(call)

    def products(
        self, dy: Array, x: Array, how: How, kept: Array, gate: Gate | None = None
    ) -> Array:
        call = backward_call(dy, x, x, how, kept, backward_work(how, dy.dtype.char), gate=gate)
        _take(call, (START, SUM, FINISH))
        return _sums_of(call)

    def differentiate(
        self, dy: Array, x: Array, dx: Array, how: How, kept: Array, sums: Array, count: int
    ) -> None:
        call = backward_call(dy, x, dx, how, kept, backward_work(how, dy.dtype.char), count)
        call.arrays[-1][:] = 0.0
        _sums_of(call)[:] = sums  # of the first part, as if others had none
        _take(call, (START, FINISH, APPLY))


class Call(NamedTuple):
    """One direction on given arrays: the C function of its tasks, how memory is cut, the steps that
    all tasks take in turn, and what `start` packs into a job; `beside`: what `put_beside` does."""

    function: int
    cut: Plan
    steps: tuple[int, ...]
    options: tuple[bool, bool, float, float, float]
    arrays: tuple[Array, ...]
    beside: tuple[Array, Array] | None = None


def forward_work(how: How, kind: str) -> Array:
    """The room that a forward of that dtype works in; `kept_of` it is what a backward needs."""
    return np.empty(6 * how.layout.channels, COMPUTED[kind])


def kept_of(work: Array) -> Array:
    """center, rest and inv_std of each channel, (3, C), in a forward's room."""
    return work[: work.size // 2].reshape(3, -1)


def backward_work(how: How, kind: str) -> Array:
    """The room that a backward works in: dgamma, dbeta, and coefficients."""
    return np.empty(7 * how.layout.channels, COMPUTED[kind])


def forward_call(
    x: Array, y: Array, how: How, running: Running | None, work: Array,
    residual: Array | None = None,
) -> Call:  # fmt: skip
    layout, gamma, beta, eps, relu = how
    channels, kind = layout.channels, x.dtype.char
    no_array, no_vector = _NOTHING[kind]
    mean, var, momentum = running or (no_vector, no_vector, 0.0)
    cut = plan(layout.outer, channels, layout.inner, x.itemsize)
    return Call(
        task("forward", kind) if residual is None else task("forward", kind, True),
        cut,
        (SUM, FINISH, APPLY),
        (relu, running is not None, eps, momentum, float(layout.count)),
        (
            _memory(layout, x),
            no_array,
            _memory(layout, y),
            *_given(gamma, beta, channels, kind),
            mean,
            var,
            no_vector,
            work,
            np.empty(2 * cut.parts * channels),
        ),
        None if residual is None else (_memory(layout, residual), no_array),
    )


def backward_call(
    dy: Array, x: Array, dx: Array, how: How, kept: Array, work: Array, count: int | None = None,
    gate: Gate | None = None,
) -> Call:  # fmt: skip
    """`count`: values of a channel, where x holds only some of them."""
    layout, gamma, beta, eps, relu = how
    count = layout.count if count is None else count
    channels, kind = layout.channels, dy.dtype.char
    _, no_vector = _NOTHING[kind]
    cut = plan(layout.outer, channels, layout.inner, dy.itemsize)
    return Call(
        task("backward", kind) if gate is None else task("backward", kind, True),
        cut,
        (START, SUM, FINISH, APPLY),
        (relu and gate is None, False, eps, 0.0, float(count)),
        (
            _memory(layout, x),
            _memory(layout, dy),
            _memory(layout, dx),
            *_given(gamma, beta, channels, kind),
            no_vector,
            no_vector,
            kept.reshape(-1),
            work,
            np.empty(2 * cut.parts * channels),
        ),
        None if gate is None else (_memory(layout, gate.y), _memory(layout, gate.dz)),
    )


def inference_call(
    x: Array, y: Array, how: How, mean: Array, var: Array, residual: Array | None = None
) -> Call:
    layout, gamma, beta, eps, relu = how
    channels, kind = layout.channels, x.dtype.char
    no_array, no_vector = _NOTHING[kind]
    return Call(
        task("inference", kind) if residual is None else task("inference", kind, True),
        plan(layout.outer, channels, layout.inner, x.itemsize),
        (FINISH, APPLY),
        (relu, False, eps, 0.0, float(layout.count)),
        (
            _memory(layout, x),
            no_array,
            _memory(layout, y),
            *_given(gamma, beta, channels, kind),
            mean,
            var,
            no_vector,
            np.empty(3 * channels, COMPUTED[kind]),
            _NO_SUMS,
        ),
        None if residual is None else (_memory(layout, residual), no_array),
    )


def _sums_of(call: Call) -> Array:
    """Both sums of each channel, (2, C), once they are joined."""
    channels = call.cut.channels
    return call.arrays[-1][: 2 * channels].reshape(2, channels)


def _memory(layout: Layout, array: Array) -> Array:
    """An array as compiled code takes it: one run of memory, and bits in place of float16."""
    flat = array.ravel() if array.flags.c_contiguous else layout.flat(array)
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


def _run(call: Call) -> None:
    """Run all steps of a call, at once where no task waits for others."""
    _take(call, call.steps if call.cut.parts > 1 else (ALL,))


def _take(call: Call, steps: tuple[int, ...]) -> None:
    """Run these steps, those over whole large arrays by the crew."""
    cut, arrays = call.cut, call.arrays
    tasks, crew, job = cut.blocks * cut.parts, get_crew(), template(cut).copy()
    shared = arrays[0].nbytes >= SHARED
    alone = 0 if shared or len(steps) > 1 else tasks
    if call.beside is not None:
        put_beside(job, *call.beside)
    start(job, call.function, alone, steps[0], crew.threads, *call.options, *arrays)
    if alone:
        return
    for step in steps:
        job[STEP] = step
        if shared and step in WHOLE:
            kept = arrays if call.beside is None else (*arrays, *call.beside)
            crew.run(call.function, tasks, job, kept, chunk=1, elements=cut.total)
        else:
            crew.alone(call.function, tasks, job)


@once
def task(name: str, kind: str, residual: bool = False) -> int:
    """The address of the C function void(low, high, job) of numba_tasks.py for one dtype."""
    return int(compiled(name, kind, residual).address)


@once
def compiled(name: str, kind: str, residual: bool = False) -> Any:
    beside = memory if residual else nothing
    names = {"COMPUTED": COMPUTED[kind], "STORED": STORED[kind], "BESIDE": beside}
    return c_function(specialize(getattr(numba_tasks, name), **names))
