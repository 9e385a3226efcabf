"""Every form in which softmax cross-entropy's kernels are compiled: for each share of a row that a
thread takes, and by CuPy with smoothed labels and without."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
from onepass.kernels.compiling.dtypes import compute_dtype
from onepass.kernels.softmax.gpu import cupy_gpu, numba_cuda
from onepass.kernels.softmax.gpu.cuda_text import KERNELS as ROWS
from onepass.kernels.softmax.gpu.plan import (
    CUDA_C,
    NUMBA,
    THREADS,
    WIDE,
    GpuPlan,
    Room,
    every_width,
    gpu_plan,
)

from proving.compiled import nvrtc

MEAN = "softmax_mean"  # of Numba's engine alone
KERNELS = (*ROWS, MEAN)


def plans(name: str, room: Room) -> dict[str, GpuPlan]:
    """Each way in which rows are shared out to a kernel, by form."""
    found = {}
    for width in (*every_width(), WIDE):
        plan = gpu_plan(1, width, room)
        if plan.kernel == name:
            what = f"{plan.kept} of {plan.lanes}"
            found[what + (f" in {plan.threads}" if plan.wide else "")] = plan
    return found


def texts(name: str, dtype: str) -> dict[str, nvrtc.Text]:
    """What CuPy compiles, by form."""
    found = plans(name, CUDA_C[compute_dtype(dtype)])
    ways = {"": (), " smoothed": (True,)}
    return {
        form + way: nvrtc.launched(cupy_gpu.raw_kernel, name, dtype, "int64", *plan[:4], *smoothed)
        for form, plan in found.items()
        for way, smoothed in ways.items()
    }


@cache
def numba_forms(name: str, dtype: str) -> dict[str, tuple[int, int, int]]:
    """Threads, lanes and values kept of what Numba compiles, by form."""
    if name == MEAN:
        return {"": (THREADS, 1, 1)}
    found = plans(name, NUMBA[compute_dtype(dtype)])
    return {form: plan[:3] for form, plan in found.items() if not plan.wide}


def numba_kernel(name: str, dtype: str, form: str) -> tuple[Any, tuple[Any, ...]]:
    """What makes a form of a kernel, and the types of its arguments."""
    import numba

    array, computed = (numba.from_dtype(np.dtype(each)) for each in (dtype, compute_dtype(dtype)))
    make = partial(numba_cuda.python_kernel, name, dtype, *numba_forms(name, dtype)[form])
    if name == MEAN:
        return make, (computed[::1], numba.float64[::1], numba.float64)
    rows = array[:, ::1]
    factors = computed[::1], numba.boolean
    return make, (rows, numba.int64[::1], *factors, rows, computed[::1])


def launch_bounds(name: str, dtype: str, form: str) -> tuple[int, int]:
    """What Numba is asked to compile it for."""
    return numba_cuda.launch_bounds(dtype, numba_forms(name, dtype)[form][0])


def budget(engine: str, name: str, dtype: str) -> int:
    """The registers that a thread may take.

    64 leave a scheduler 8 warps, each of which has many reads on the way; 80 of float64 leave 6,
    and what Numba compiles of it takes up to 96, which leave 5.
    """
    if dtype != "float64" or name == MEAN:
        return 64
    return 80 if engine == "cupy" else 96
