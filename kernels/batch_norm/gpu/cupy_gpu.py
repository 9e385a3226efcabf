"""Engine "cupy": batch normalization by RawKernels."""

from __future__ import annotations

from math import gcd
from typing import Any, NamedTuple

import numpy as np

from ....backend import Array
from ....backend.failures import Explained
from ...array_arguments import start_of
from ...compiling.dtypes import GPU_COMPUTED, NAMES
from ...compiling.gpu.cuda_launch import NULL, RawKernel, made_lately, made_once, processors
from ...compiling.gpu.cuda_packs import BYTES
from ...graph.words import words
from ..arguments import options
from ..contract import NOWHERE, BatchNormEngine, Gate, How, Places, Running, Saved
from ..layout import Layout
from ..residuals import with_residual
from .cuda_text import source, symbol
from .cupy_quick import alike, quick_layout, vectors_fit
from .joined import joined_moments, joined_products
from .plan import Plan, plan_of, values_of_parts


class CupyBatchNorm(BatchNormEngine):
    """One launch where blocks keep all of their channels' values; else two, one that sums up in
    parts and one that joins these and applies. One for inference."""

    name, together = "cupy", True

    def forward(
        self, x: Array, y: Array, how: How, running: Running | None, residual: Array | None = None
    ) -> Array:
        beside = () if residual is None else (residual,)
        return _forward(x, y, how, running, _cut(how.layout, (x, y, *beside)), beside)

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
        from cupy import empty

        cut = _cut(how.layout, (x, dy, dx, *(gate or ())))
        channels = how.layout.channels
        dgamma, dbeta = (empty(channels, cut.number) if each is None else each for each in places)
        _backward(dy, x, dx, how, kept, dgamma, dbeta, cut, gate)
        return dgamma, dbeta

    def inference(
        self,
        x: Array,
        y: Array,
        how: How,
        mean: Array,
        var: Array,
        residual: Array | None = None,
    ) -> None:
        beside = () if residual is None else (residual,)
        cut = _cut(how.layout, (x, y, *beside), whole=False)
        _inference(x, y, how, mean, var, cut, beside)

    def moments(self, x: Array, layout: Layout) -> Array:
        from cupy import empty

        cut = _cut(layout, (x,), whole=False)
        parts = cut.plan.parts
        partial = empty((2 * parts + 1, layout.channels), cut.number)
        cut.launch("moments", False, x, partial, *cut.shape)
        counts = values_of_parts(cut.plan, layout.outer, layout.inner)
        return joined_moments(partial[-1], partial[:parts], partial[parts : 2 * parts], counts)

    def products(
        self, dy: Array, x: Array, how: How, kept: Array, gate: Gate | None = None
    ) -> Array:
        from cupy import empty

        beside: tuple[Array, ...] = gate or ()
        cut = _cut(how.layout, (x, dy, *beside), whole=False)
        partial = empty((2, cut.plan.parts, how.layout.channels), cut.number)
        name = "products_residual" if beside else "products"
        given = kept, _of(how.gamma), _of(how.beta), partial
        cut.launch(name, how.relu, x, dy, *beside, *given, *cut.shape)
        return joined_products(partial)

    def differentiate(
        self, dy: Array, x: Array, dx: Array, how: How, kept: Array, sums: Array, count: int
    ) -> None:
        from cupy import zeros

        layout, gamma, beta, _, relu = how
        cut = _cut(layout, (x, dy, dx), whole=False)
        partial = zeros((2, cut.plan.parts, layout.channels), cut.number)
        partial[:, 0] = sums * (layout.count / count)  # the kernel divides by x's own
        given = kept, _of(gamma), _of(beta), NULL, NULL
        cut.launch("differentiate", relu, x, dy, partial, *given, dx, *cut.shape)

    def quick_forward(
        self,
        x: Array,
        vectors: tuple[Array | None, ...],
        numbers: tuple[Any, Any, Any],
        axis: Any,
        residual: Array | None = None,
    ) -> tuple[Array, Saved] | None:
        """Of CuPy arrays without gaps on the current device."""
        from cupy import empty

        layout = quick_layout(x, axis)
        if layout is None or layout.count < 2:
            return None
        gamma, beta, mean, var = vectors
        beside = () if residual is None else (residual,)
        if beside and not alike(beside, x):
            return None
        if not vectors_fit(x, layout.channels, (gamma, beta), (mean, var), beside):
            return None
        momentum, eps, relu = options(*numbers)
        running = None if mean is None or var is None else Running(mean, var, momentum)
        with Explained("batch_norm_forward", x, self.name):
            y = empty(x.shape, x.dtype)
            how = How(layout, gamma, beta, eps, relu)
            places = x.data.ptr | y.data.ptr
            for array in beside:
                places |= array.data.ptr
            kept = _forward(x, y, how, running, _cut_at(layout, x, places), beside)
        saved = Saved(x, gamma, beta, kept, eps, numbers[2], layout.axis, x.shape)
        return y, with_residual(saved, y) if beside else saved

    def quick_backward(self, dy: Array, saved: Saved, places: Places) -> tuple[Array, ...] | None:
        """Of such arrays, too."""
        from cupy import empty

        x, gamma, beta, kept = saved.x, saved.gamma, saved.beta, saved.kept
        layout, results = quick_layout(x, saved.channel_axis), saved.y
        read = (dy,) if results is None else (dy, results)
        if layout is None or x.shape != saved.shape or not alike(read, x):
            return None
        channels = layout.channels
        if kept.shape != (3, channels) or not kept.flags.c_contiguous:
            return None
        if any(a is None and b is not None for a, b in zip((gamma, beta), places, strict=True)):
            return None
        if not vectors_fit(x, channels, (gamma, beta), places, (*read, kept)):
            return None
        with Explained("batch_norm_backward", x, self.name):
            dx, gate = empty(x.shape, x.dtype), None
            starts = x.data.ptr | dy.data.ptr | dx.data.ptr
            if results is not None:
                gate = Gate(results, empty(x.shape, x.dtype))
                starts |= gate.y.data.ptr | gate.dz.data.ptr
            cut = _cut_at(layout, x, starts)
            dgamma, dbeta = (
                empty(channels, cut.number) if place is None and vector is not None else place
                for vector, place in zip((gamma, beta), places, strict=True)
            )
            how = How(layout, gamma, beta, saved.eps, saved.activation == "relu")
            _backward(dy, x, dx, how, kept, dgamma, dbeta, cut, gate)
        if not saved.residual:
            return dx, dgamma, dbeta
        return dx, dgamma, dbeta, dy if gate is None else gate.dz

    def quick_inference(
        self,
        x: Array,
        vectors: tuple[Array, ...],
        eps: Any,
        axis: Any,
        activation: Any,
        residual: Array | None = None,
    ) -> Array | None:
        """Of such arrays, too."""
        from cupy import empty

        layout, beside = quick_layout(x, axis), () if residual is None else (residual,)
        if layout is None or not vectors_fit(x, layout.channels, vectors, ()):
            return None
        if beside and not alike(beside, x):
            return None
        gamma, beta, mean, var = vectors
        _, eps, relu = options(0.0, eps, activation)
        with Explained("batch_norm_inference", x, self.name):
            y = empty(x.shape, x.dtype)
            how = How(layout, gamma, beta, eps, relu)
            places = x.data.ptr | y.data.ptr
            for array in beside:
                places |= array.data.ptr
            _inference(x, y, how, mean, var, _cut_at(layout, x, places, whole=False), beside)
        return y


def _forward(
    x: Array, y: Array, how: How, running: Running | None, cut: Cut, beside: tuple[Array, ...]
) -> Array:
    """`beside` has the residual, if there is one; kernels have a name with it and one without."""
    from cupy import empty

    layout, gamma, beta, eps, relu = how
    channels, number = layout.channels, cut.number
    kept = empty((3, channels), number)
    mean, var, momentum = running or (NULL, NULL, 0.0)
    given = (_of(gamma), _of(beta), mean, var, kept, y, *cut.shape)
    rates = number(eps), number(momentum), number(1.0 - momentum), words().stop
    suffix = "_residual" if beside else ""
    if cut.plan.whole:
        cut.launch(f"whole_forward{suffix}", relu, x, *beside, *given, *rates)
    else:
        partial = empty((2 * cut.plan.parts + 1, channels), number)
        cut.launch("moments", False, x, partial, *cut.shape)
        cut.launch(f"normalize{suffix}", relu, x, *beside, partial, *given, *rates)
    return kept


def _backward(
    dy: Array,
    x: Array,
    dx: Array,
    how: How,
    kept: Array,
    dgamma: Array | None,
    dbeta: Array | None,
    cut: Cut,
    gate: Gate | None = None,
) -> None:
    from cupy import empty

    layout, gamma, beta, _, relu = how
    given = kept, _of(gamma), _of(beta)
    written = (_of(dgamma), _of(dbeta), dx, *cut.shape)
    beside: tuple[Array, ...] = gate or ()
    if cut.plan.whole:
        name = "whole_backward_residual" if beside else "whole_backward"
        cut.launch(name, relu, x, dy, *beside, *given, *written)
        return
    partial = empty((2 * cut.plan.parts, layout.channels), cut.number)
    if gate is not None:
        cut.compile("differentiate", False)  # before dz, which a user may see, is written
        cut.launch("products_residual", True, x, dy, *beside, *given, partial, *cut.shape)
        dy, relu = gate.dz, False
    else:
        cut.launch("products", relu, x, dy, *given, partial, *cut.shape)
    cut.launch("differentiate", relu, x, dy, partial, *given, *written)


def _inference(
    x: Array, y: Array, how: How, mean: Array, var: Array, cut: Cut, beside: tuple[Array, ...]
) -> None:
    _, gamma, beta, eps, relu = how
    given = mean, var, _of(gamma), _of(beta), y
    name = "infer_residual" if beside else "infer"
    cut.launch(name, relu, x, *beside, *given, *cut.shape, cut.number(eps))


class Cut(NamedTuple):
    """How arrays of one shape, dtype and GPU are launched.

    Attributes:
        number: what makes a number of what is computed in.
        shape: the arguments of kernels that tell it.
    """

    plan: Plan
    dtype: str
    number: Any
    blocks: tuple[int, int]
    shape: tuple[Any, ...]

    def launch(self, name: str, relu: bool, x: Array, *arguments: Any) -> None:
        """One of `cuda_text.KERNELS`."""
        plan = self.plan
        kernel = raw_kernel(name, self.dtype, relu, plan.runs, plan.each, plan.threads)
        kernel(x, self.blocks, plan.threads, x, *arguments)

    def compile(self, name: str, relu: bool) -> None:
        """What `launch` compiles at its first."""
        plan = self.plan
        raw_kernel(name, self.dtype, relu, plan.runs, plan.each, plan.threads).compile()


def _cut(layout: Layout, arrays: tuple[Array, ...], whole: bool = True) -> Cut:
    """Of arrays on whatever device."""
    x, places = arrays[0], 0
    for array in arrays:
        places |= start_of(array)
    shape = layout.outer, layout.channels, layout.inner
    return cut_of(*shape, x.dtype, gcd(places, BYTES), processors(x.device.id), whole)


def _cut_at(layout: Layout, x: Array, places: int, whole: bool = True) -> Cut:
    """Of CuPy arrays, one of which is x, whose addresses have the bits `places`."""
    shape = layout.outer, layout.channels, layout.inner
    return cut_of(*shape, x.dtype, gcd(places, BYTES), processors(x.data.device_id), whole)


@made_lately
def cut_of(
    outer: int,
    channels: int,
    inner: int,
    dtype: np.dtype[Any],
    aligned: int,
    processors: int,
    whole: bool = True,
) -> Cut:
    """How to launch on arrays of (outer, channel, inner); the rest is as in `plan_of`."""
    plan = plan_of(outer, channels, inner, dtype.itemsize, aligned, processors, whole)
    index = np.int64 if plan.wide else np.int32
    shape = (*map(index, (outer, channels, inner, plan.share)), np.int32(plan.tile))
    number = GPU_COMPUTED[dtype].type
    return Cut(plan, NAMES[dtype], number, (plan.across, plan.parts), shape)


@made_once
def raw_kernel(name: str, dtype: str, relu: bool, runs: bool, each: int, threads: int) -> RawKernel:
    """One of `cuda_text.KERNELS`; the arguments are those of `cuda_text.source`."""
    text = source(name, dtype, relu, runs, each, threads)
    return RawKernel(name, dtype, text, symbol(name))


def _of(vector: Array | None) -> Any:
    """The pointer to it that a kernel takes."""
    return NULL if vector is None else vector
