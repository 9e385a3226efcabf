"""The CUDA C text of activations, as plain text so that it can be proven without a GPU."""

from __future__ import annotations

from ...compiling import c_text
from ...compiling.dtypes import C_TYPES, compute_dtype
from ..formula import FORMULAS, KINDS


def elementwise(name: str, dtype: str, biased: bool = False) -> dict[str, str]:
    """What the ElementwiseKernel of a formula is made of.

    Its arguments are (x, slope, y), `biased` (x, bias, slope, y), and of a gradient (dy, y, slope,
    dz).
    """
    function, compute = FORMULAS[name], compute_dtype(dtype)
    c = C_TYPES[compute]
    arrays, given, result = ["x"], f"{c}(x)", "y"
    if biased:
        arrays, given = ["x", "bias"], f"{c}(x) + {c}(bias)"
    elif name not in KINDS:
        arrays, given, result = ["dy", "y"], f"{c}(dy), {c}(y)", "dz"
    return {
        "in_params": ", ".join([*(f"{dtype} {each}" for each in arrays), f"{compute} slope"]),
        "out_params": f"{dtype} {result}",
        "operation": f"""{c} value;
{function.__name__}({given}, slope, {c}(0), {c}(1), value);
{result} = value;""",
        "name": f"activation_{name}_{dtype}{'_biased' * biased}",
        "preamble": c_text.device_function(function, c),
    }
