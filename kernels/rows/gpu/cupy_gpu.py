"""Engine "cupy": operations over rows by RawKernels."""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np

from ...array_arguments import start_of
from ...compiling.dtypes import gpu_dtypes
from ...compiling.gpu.cuda_launch import NULL, RawKernel, made_lately, made_once, processors
from ...compiling.gpu.cuda_packs import BYTES
from ..contract import Arrays, RowsEngine
from ..skeleton import Rows, Shape
from . import plan as plans
from .cuda_text import join_source, source, symbol
from .plan import Form, Plan


class CupyRows(RowsEngine):
    """One launch; where columns are summed, a second one adds up what blocks have."""

    name = "cupy"

    def run(self, rows: Rows, shape: Shape, arrays: Arrays, numbers: tuple[float, ...]) -> None:
        import cupy

        first = arrays.elements[0]
        dtype, computed = gpu_dtypes(first.dtype)
        together = (*arrays.elements, *(each for each in arrays.vectors if each is not None))
        aligned = gcd(*map(start_of, together), BYTES)
        plan = _plan(rows, shape, first.itemsize, aligned, processors(first.device.id))
        kernel = raw_kernel(rows, dtype, plan.form)
        given: list[Any] = [*arrays.elements]
        given += [NULL if each is None else each for each in arrays.vectors]
        given += [arrays.given] * bool(rows.given) + [arrays.kept] * bool(rows.kept)
        if rows.added:
            kernel.compile()
            join = join_kernel(dtype)
            join.compile()  # so that nothing is missing once the result is written
            sums = cupy.empty((len(rows.added), plan.sums, shape.period), computed)
            given.append(sums)
        given += [*np.array((1.0 / shape.width, *numbers), computed)]
        index = np.int64 if plan.form.wide else np.int32
        given += [np.int64(shape.rows), np.int64(plan.parts)]
        given += [np.int32(each) for each in (plan.share, plan.lanes, plan.sub)]
        given += [index(each) for each in (shape.columns, shape.inner, plan.per, plan.steps)]
        kernel(first, plan.blocks, plan.threads, *given, np.int64(shape.groups))
        if rows.added:
            grid = -(-shape.period // plans.JOINED), len(rows.added)
            sizes = np.int64(plan.sums), np.int64(shape.period)
            join(first, grid, plans.JOINED**2, sums, arrays.added, *sizes)


@made_lately
def _plan(rows: Rows, shape: Shape, itemsize: int, aligned: int, processors: int) -> Plan:
    return plans.plan_of(rows, shape, itemsize, aligned, processors, plans.CUDA_C)


@made_once
def raw_kernel(rows: Rows, dtype: str, form: Form) -> RawKernel:
    """The kernel of an operation; the arguments are those of `cuda_text.source`."""
    return RawKernel(rows.name, dtype, source(rows, dtype, form), symbol(rows))


@made_once
def join_kernel(dtype: str) -> RawKernel:
    """What adds up sums over columns."""
    return RawKernel("rows_join", dtype, join_source(dtype))
