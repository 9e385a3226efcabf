"""Engine "cupy": one RawKernel a rule on arrays without gaps, an ElementwiseKernel on others."""

from __future__ import annotations

import numpy as np

from ...backend import Array
from ...backend.devices import best_gpu
from ..compiling import cuda_launch
from ..compiling.c_text import PREAMBLE, operation, sources_missing
from ..compiling.cuda_launch import ElementwiseKernel, RawKernel, blocks_for, made_once
from ..compiling.cuda_packs import each
from ..compiling.dtypes import C_TYPES, compute_dtype
from ..compiling.python_text import scalar_names
from ..rule import Rule
from .all_or_none import GpuEngine
from .cuda_text import source, symbol


class CupyEngine(GpuEngine):
    """Compiles with NVRTC at the first call; CuPy keeps the machine code on disk."""

    name = "cupy"

    def missing(self) -> tuple[str, str]:
        status = best_gpu()
        return (status.reason, status.remedy) if status.reason else sources_missing()

    def run(
        self,
        rule: Rule,
        arrays: tuple[Array, ...],
        coefficients: tuple[float, ...],
        contiguous: bool,
    ) -> None:
        param, grad, *state = arrays
        dtype = param.dtype.name
        if not contiguous:
            strided_kernel(rule, dtype)(param, grad, *coefficients, param, *state)
            return
        scalar = np.dtype(compute_dtype(dtype)).type
        raw_kernel(rule, dtype)(
            *(param, blocks_for(param.size, each(dtype)), cuda_launch.THREADS),
            *arrays,
            np.int64(param.size),
            *map(scalar, coefficients),
        )


@made_once
def raw_kernel(rule: Rule, dtype: str) -> RawKernel:
    """The kernel (*arrays, size, *coefficients) of a rule for arrays of one dtype without gaps."""
    return RawKernel(rule.name, dtype, source(rule, dtype), symbol(rule, dtype))


@made_once
def strided_kernel(rule: Rule, dtype: str) -> ElementwiseKernel:
    """The kernel (grad, *coefficients, param, *state) for arrays of one dtype, laid out anyhow."""
    return ElementwiseKernel(rule.name, parts(rule, dtype))


def parts(rule: Rule, dtype: str) -> dict[str, str]:
    """What an ElementwiseKernel is made of; plain text, so that it can be proven without a GPU.

    Written arrays are its output parameters, which CuPy hands to the body by reference: the body
    reads them too.
    """
    compute = compute_dtype(dtype)
    inputs = [f"{dtype} g", *(f"{compute} {name}" for name in scalar_names(rule))]
    return {
        "in_params": ", ".join(inputs),
        "out_params": ", ".join(f"{dtype} {name}" for name in ("p", *rule.state)),
        "operation": operation(rule, C_TYPES[compute]),
        "name": f"{symbol(rule, dtype)}_strided",
        "preamble": PREAMBLE,
    }
