"""Engine "cupy": one CuPy ElementwiseKernel a rule, dtype and launch, on any array layout."""

from __future__ import annotations

from ...backend import Array
from ...backend.devices import best_gpu
from ..compiling.c_text import PREAMBLE, operation, sources_missing
from ..compiling.cuda_launch import ElementwiseKernel, made_once
from ..compiling.dtypes import C_TYPES, compute_dtype
from ..compiling.python_text import scalar_names
from ..rule import Rule
from .all_or_none import GpuEngine


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
        kernel(rule, param.dtype.name)(param, grad, *coefficients, param, *state)


@made_once
def kernel(rule: Rule, dtype: str) -> ElementwiseKernel:
    """The kernel (grad, *coefficients, param, *state) of a rule for one dtype."""
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
        "name": f"onepass_{rule.name.replace('-', '_')}_{dtype}",
        "preamble": PREAMBLE,
    }
