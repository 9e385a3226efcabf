"""Every way in which rows are shared out, as kernels of operations over rows are compiled for it:
to lanes and to blocks, by sixteen bytes and by elements, in planes and not."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
from onepass.kernels.compiling.dtypes import compute_dtype
from onepass.kernels.compiling.gpu.cuda_packs import BYTES
from onepass.kernels.rows.gpu import cuda_text, cupy_gpu, numba_cuda, numba_text
from onepass.kernels.rows.gpu.plan import CUDA_C, EVERY_WIDTH, NUMBA, WIDE, Form, plan_of
from onepass.kernels.rows.skeleton import Rows, Shape

from proving.compiled import nvrtc
from proving.compiled.lowered import Lowered
from proving.norm_passes import JOIN, ROWS, rows_of

KERNELS = (*ROWS, JOIN)


@cache
def forms(engine: str, rows: Rows, dtype: str) -> dict[str, Form]:
    """Those that shapes of rows take; of group norm, that have planes."""
    wide = [WIDE] if rows in rows_of("layer norm") else []
    shapes = [Shape(4096, 1, width, 1) for width in (*EVERY_WIDTH, *wide)]
    if rows.name.startswith("group"):
        shapes = [Shape(64, 8, 2, width) for width in EVERY_WIDTH]
    size, found = np.dtype(dtype).itemsize, {}
    for shape in shapes:
        aligned, room = (BYTES, CUDA_C) if engine == "cupy" else (size, NUMBA)
        form = plan_of(rows, shape, size, aligned, 100, room).form
        if engine != "cupy":
            form = form._replace(wide=False)
        what = f"{'block' if form.block else 'lanes'}, {form.kept} x {form.each}"
        found[what + ", wide" * form.wide] = form
    return found


def texts(name: str, dtype: str) -> dict[str, nvrtc.Text]:
    """What CuPy compiles, by form."""
    if name == JOIN:
        return {"": nvrtc.launched(cupy_gpu.join_kernel, dtype)}
    rows = ROWS[name]
    return {
        what: nvrtc.launched(cupy_gpu.raw_kernel, rows, dtype, form)
        for what, form in forms("cupy", rows, dtype).items()
    }


def lowered(name: str, dtype: str) -> dict[str, Lowered]:
    """What Numba compiles, by form."""
    import numba

    stored = "uint16" if dtype == "bfloat16" else dtype
    array, scalar = (numba.from_dtype(np.dtype(each)) for each in (stored, compute_dtype(dtype)))
    sizes = [numba.int64] * 2
    if name == JOIN:
        types = (scalar[::1], scalar[::1], *sizes)
        return {"": Lowered(partial(numba_text.join_kernel, dtype), types)}
    rows, numbers = ROWS[name], scalar[::1]
    several = len(rows.vectors) + bool(rows.given) + bool(rows.kept) + bool(rows.added)
    given = [array[::1]] * len(rows.arrays) + [numbers] * several
    given += [scalar] * (1 + len(rows.numbers)) + [numba.int64] * 10
    return {
        what: _kept(rows, dtype, form, tuple(given))
        for what, form in forms("numba-cuda", rows, dtype).items()
    }


def _kept(rows: Rows, dtype: str, form: Form, types: tuple[Any, ...]) -> Lowered:
    """Its rows are kept in registers, which launch bounds make room for."""
    make = partial(numba_text.python_kernel, rows, dtype, form)
    return Lowered(make, types, launch_bounds=numba_cuda.launch_bounds(rows, dtype, form))


def budget(engine: str, name: str, dtype: str, form: str) -> int:
    """The registers that a thread may take: 64 leave a scheduler 8 warps, each of which has all of
    its part of a row on the way; 128, 4 warps, where threads keep two arrays, or a number takes two
    registers or one for itself."""
    if name == JOIN:
        return 64
    rows, made = ROWS[name], forms(engine, ROWS[name], dtype)[form]
    return 64 if cuda_text.resident(rows, dtype, made) * made.threads > cuda_text.FEWER else 128
