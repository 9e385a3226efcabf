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

KERNELS = (*PASSES, *WHOLE)
"""The names of all kernels."""

GATED = (*KERNELS[1:],)
"""Those that ReLU changes."""

MOST_CHANNELS = 64  # of a tile
_BODIES = PASSES | WHOLE
_FUNCTIONS = (
    formula.middle,
    formula.of_sums,
    formula.about,
    formula.deviation,
    formula.affine,
    formula.averaged,
    formula.normalized,
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
    types = {"T": C_TYPES[dtype], "C": C_TYPES[compute_dtype(dtype)]}
    types["Index"] = "long long" if plan.wide(each, name in WHOLE) else "int"
    numbers = {
        "THREADS": threads,
        "RESIDENT": plan.resident(name in WHOLE, each, threads),
        "EACH": each,
        "DEEP": 4 if each > 1 else 8,
        "KEPT": plan.kept(each, np.dtype(dtype).itemsize),
        "RELU": int(relu),
        "MOST_CHANNELS": MOST_CHANNELS,
    }
    body = _BODIES[name].replace("NAME", symbol(name)).replace("SHAPE", SHAPE)
    return (
        "".join(f"typedef {kind} {alias};\n" for alias, kind in types.items())
        + "".join(f"#define {key} {number}\n" for key, number in numbers.items())
        + _functions(types["C"])
        + (tiles(runs) + CHANNELS + TAKES + body).replace("GIVEN", GIVEN)
    )


@cache
def _functions(compute: str) -> str:
    functions = "".join(c_text.device_function(function, compute) for function in _FUNCTIONS)
    return c_text.PREAMBLE + functions
