"""Engine "numba-cuda": operations over rows compiled by Numba for the GPU, on CuPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend import Array, device_of
from ...compiling.dtypes import gpu_dtypes
from ...compiling.gpu.cuda_launch import NumbaKernel, made_lately, made_once, processors
from ...compiling.gpu.first_launch import is_new, remember
from ..contract import Arrays, RowsEngine
from ..skeleton import Rows, Shape
from . import numba_text
from . import plan as plans
from .cuda_text import resident
from .plan import Form, Plan


class NumbaCudaRows(RowsEngine):
    """One launch, on CuPy's current stream; where columns are summed, a second one adds up what
    blocks have."""

    name = "numba-cuda"

    def run(self, rows: Rows, shape: Shape, arrays: Arrays, numbers: tuple[float, ...]) -> None:
        import cupy

        first = arrays.elements[0]
        dtype, computed = gpu_dtypes(first.dtype)
        plan = _plan(rows, shape, first.itemsize, processors(first.device.id))
        given: list[Any] = [*arrays.elements]
        if dtype == "bfloat16":  # which Numba lacks
            given = [each.view(np.uint16) for each in given]
        for each, default in zip(arrays.vectors, rows.vectors.values(), strict=True):
            constant = cupy.ones if default else cupy.zeros
            given.append(constant(shape.period, computed) if each is None else each)
        given += [arrays.given] * bool(rows.given) + [arrays.kept] * bool(rows.kept)
        if rows.added:
            sums = cupy.empty((len(rows.added), plan.sums, shape.period), computed)
            given.append(sums)
            code = "rows join", self.name, device_of(first), dtype
            if is_new(code):  # so that nothing is missing once the result is written
                self._join(shape, plan, first, dtype, sums, arrays.added)
                remember([code])
        scalars = np.array((1.0 / shape.width, *numbers), computed)
        sizes = (
            *(shape.rows, plan.parts, plan.share, plan.lanes, plan.sub),
            *(shape.columns, shape.inner, plan.per, plan.steps, shape.groups),
        )
        kernel(rows, dtype, plan.form)(
            *(first, plan.blocks, plan.threads),
            *(each.reshape(-1) for each in given), *scalars, *map(np.int64, sizes),
        )  # fmt: skip
        if rows.added:
            self._join(shape, plan, first, dtype, sums, arrays.added)

    @staticmethod
    def _join(shape: Shape, plan: Plan, like: Array, dtype: str, sums: Array, added: Array) -> None:
        grid = -(-shape.period // plans.JOINED), len(added)
        sizes = np.int64(plan.sums), np.int64(shape.period)
        join = join_kernel(dtype)
        join(like, grid, plans.JOINED**2, sums.reshape(-1), added.reshape(-1), *sizes)


@made_lately
def _plan(rows: Rows, shape: Shape, itemsize: int, processors: int) -> Plan:
    return plans.plan_of(rows, shape, itemsize, itemsize, processors, plans.NUMBA)


@made_once
def kernel(rows: Rows, dtype: str, form: Form) -> NumbaKernel:
    """The CUDA kernel of an operation for arrays of a dtype."""
    function = numba_text.python_kernel(rows, dtype, form)
    return NumbaKernel(rows.name, function, launch_bounds=launch_bounds(rows, dtype, form))


def launch_bounds(rows: Rows, dtype: str, form: Form) -> tuple[int, int]:
    """Threads of a block, and how many blocks a processor must be able to hold."""
    return form.threads, resident(rows, dtype, form)


@made_once
def join_kernel(dtype: str) -> NumbaKernel:
    """What adds up sums over columns."""
    return NumbaKernel("rows_join", numba_text.join_kernel(dtype))
