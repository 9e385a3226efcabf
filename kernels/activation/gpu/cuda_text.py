"""The CUDA C text of activations, as plain text so that it can be proven without a GPU."""

from __future__ import annotations

from ...compiling import c_text
from ...compiling.cuda_packs import READ, WRITTEN, packed
from ...compiling.dtypes import C_TYPES, compute_dtype
from ..formula import FORMULAS, KINDS


def symbol(name: str, dtype: str, biased: bool) -> str:
    """What the text calls the kernel of a formula."""
    return f"activation_{name}_{dtype}{'_biased' * biased}"


def source(name: str, dtype: str, biased: bool = False) -> str:
    """The whole text of the kernel for arrays without gaps.

    (x, y, size, slope), `biased` (x, y, bias, columns, size, slope), and of a gradient (dy, y, dz,
    size, slope).
    """
    read, result = _arrays(name)
    arrays = {**dict.fromkeys(read, READ), result: WRITTEN}
    preamble = c_text.device_function(FORMULAS[name], "C")
    operation = _operation(name, "C", biased)
    row = "bias" if biased else ""
    return packed(symbol(name, dtype, biased), dtype, arrays, ("slope",), operation, preamble, row)


def elementwise(name: str, dtype: str, biased: bool = False) -> dict[str, str]:
    """What the ElementwiseKernel of a formula is made of, for arrays that are laid out anyhow.

    Its arguments are (x, slope, y), `biased` (x, bias, slope, y), and of a gradient (dy, y, slope,
    dz).
    """
    compute = compute_dtype(dtype)
    c = C_TYPES[compute]
    read, result = _arrays(name)
    read += ["bias"] if biased else []
    return {
        "in_params": ", ".join([*(f"{dtype} {each}" for each in read), f"{compute} slope"]),
        "out_params": f"{dtype} {result}",
        "operation": _operation(name, c, biased),
        "name": f"{symbol(name, dtype, biased)}_strided",
        "preamble": c_text.device_function(FORMULAS[name], c),
    }


def _arrays(name: str) -> tuple[list[str], str]:
    """Those that are read, and the one that is written."""
    return (["x"], "y") if name in KINDS else (["dy", "y"], "dz")


def _operation(name: str, c: str, biased: bool) -> str:
    """What is done to an element, in the C type `c`."""
    read, result = _arrays(name)
    given = f"{c}(x) + {c}(bias)" if biased else ", ".join(f"{c}({each})" for each in read)
    return f"""{c} value;
{FORMULAS[name].__name__}({given}, slope, {c}(0), {c}(1), value);
{result} = value;"""
