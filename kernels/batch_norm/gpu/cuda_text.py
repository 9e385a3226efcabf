"""The CUDA C text of batch normalization, as plain text so that it can be proven without a GPU.

Sums are of x - near, near being the median of three values of the same channel, and then of
x - center, so that a mean that is large beside the deviation costs no digits. They go through the
same threads and blocks in the same order at every run, so that results never change from run to
run.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ...compiling import c_text
from ...compiling.dtypes import C_TYPES, compute_dtype
from .. import formula
from . import plan
from .cuda_channels import CHANNELS
from .cuda_passes import PASSES, TAKES
from .cuda_tiles import GIVEN, SHAPE, tiles
from .cuda_whole import WHOLE

_BODIES = PASSES | WHOLE
_SUFFIX = "_residual"
BESIDE = {
    f"{name}{_SUFFIX}": name
    for name in ("normalize", "products", "infer", "whole_forward", "whole_backward")
}
"""Kernels that read a residual, too, or in a backward y, and write dz; each with that without.
`products_residual` is followed by `differentiate`, of dz."""

KERNELS = (*PASSES, *WHOLE, *BESIDE)
"""The names of all kernels."""

ALWAYS_GATED = ("products_residual", "whole_backward_residual")
"""Those of what a ReLU stopped, and of nothing else."""

GATED = tuple(name for name in KERNELS if name != "moments" and name not in ALWAYS_GATED)
"""Those that ReLU changes."""

IN_REGISTERS = tuple(name for name in KERNELS if BESIDE.get(name, name) in WHOLE)
"""Those of blocks that keep their channels' values."""

MOST_CHANNELS = 64  # of a tile
_FUNCTIONS = (
    formula.middle,
    formula.of_sums,
    formula.about,
    formula.deviation,
    formula.affine,
    formula.averaged,
    formula.normalized,
    formula.added,
    formula.rectified,
    formula.gradients,
    formula.input_gradient,
)


def symbol(name: str) -> str:
    """What the text calls a kernel."""
    return f"batch_norm_{name}"


def source(name: str, dtype: str, relu: bool, runs: bool, each: int, threads: int) -> str:
    """A kernel's whole text.

    Args:
        name: one of `KERNELS`.
        dtype: of the arrays.
        relu: whether ReLU followed.
        runs, each, threads: as in `plan.Plan`.
    """
    whole, plain = name in IN_REGISTERS, BESIDE.get(name, name)
    types = {"T": C_TYPES[dtype], "C": C_TYPES[compute_dtype(dtype)]}
    types["Index"] = "long long" if plan.wide(each, whole) else "int"
    numbers = {
        "THREADS": threads,
        "RESIDENT": plan.resident(whole, each, threads),
        "EACH": each,
        "DEEP": 4 if each > 1 else 8,
        "KEPT": plan.kept(each, np.dtype(dtype).itemsize),
        "RELU": int(relu),
        "RESIDUAL": int(name in BESIDE),
        "BESIDE(...)": "__VA_ARGS__" if name in BESIDE else "",
        "MOST_CHANNELS": MOST_CHANNELS,
    }
    body = _BODIES[plain].replace("NAME", symbol(name)).replace("SHAPE", SHAPE)
    body = body.replace("ALSO", _parameters(name))
    return (
        "".join(f"typedef {kind} {alias};\n" for alias, kind in types.items())
        + "".join(f"#define {key} {number}\n" for key, number in numbers.items())
        + _functions(types["C"])
        + (tiles(runs) + CHANNELS + TAKES + body).replace("GIVEN", GIVEN)
    )


def _parameters(name: str) -> str:
    """Those of arrays that only kernels with a residual have."""
    if name not in BESIDE:
        return ""
    return " const T *y, T *dz," if name in ALWAYS_GATED else " const T *residual,"


@cache
def _functions(compute: str) -> str:
    functions = "".join(c_text.device_function(function, compute) for function in _FUNCTIONS)
    return c_text.PREAMBLE + functions
