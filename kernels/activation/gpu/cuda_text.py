"""The CUDA C text of activations, as plain text so that it can be proven without a GPU."""

from __future__ import annotations

from ...compiling import c_text
from ...compiling.dtypes import C_TYPES, compute_dtype
from ...compiling.gpu import cuda_normal_cdf
from ...compiling.gpu.cuda_packs import READ, WRITTEN, packed
from ..formula import CONSTANTS, FORMULAS, KINDS, PLACES, call


def symbol(name: str, dtype: str, biased: bool) -> str:
    """What the text calls the kernel of a formula."""
    return f"activation_{name}_{dtype}{'_biased' * biased}"


def source(name: str, dtype: str, biased: bool = False) -> str:
    """The whole text of the kernel for arrays without gaps.

    (x, y, size, *PLACES), `biased` (x, y, bias, columns, size, *PLACES); of a gradient (dy, y, dz,
    ...), `biased` where it is told from x and the bias.
    """
    read, result = _arrays(name)
    arrays = {**dict.fromkeys(read, READ), result: WRITTEN}
    preamble = _functions(name, "C", compute_dtype(dtype))
    operation = _operation(name, "C", biased)
    row = "bias" if biased else ""
    return packed(symbol(name, dtype, biased), dtype, arrays, PLACES, operation, preamble, row)


def elementwise(name: str, dtype: str, biased: bool = False) -> dict[str, str]:
    """What the ElementwiseKernel of a formula is made of, for arrays that are laid out anyhow.

    Its arguments are (x, *PLACES, y), `biased` (x, bias, *PLACES, y), and of a gradient (dy, y,
    *PLACES, dz), likewise.
    """
    compute = compute_dtype(dtype)
    c = C_TYPES[compute]
    read, result = _arrays(name)
    read += ["bias"] if biased else []
    return {
        "in_params": ", ".join(
            [*(f"{dtype} {each}" for each in read), *(f"{compute} {each}" for each in PLACES)]
        ),
        "out_params": f"{dtype} {result}",
        "operation": _operation(name, c, biased),
        "name": f"{symbol(name, dtype, biased)}_strided",
        "preamble": _functions(name, c, compute),
    }


def _arrays(name: str) -> tuple[list[str], str]:
    """Those that are read, and the one that is written."""
    return (["x"], "y") if name in KINDS else (["dy", "y"], "dz")


def _operation(name: str, c: str, biased: bool) -> str:
    """What is done to an element, in the C type `c`."""
    read, result = _arrays(name)
    *before, last = (f"{c}({each})" for each in read)
    given = (*before, f"{last} + {c}(bias)" if biased else last)
    arguments = call(name, given, lambda constant: f"{c}({CONSTANTS[constant]!r})")
    return f"""{c} value;
{FORMULAS[name].__name__}({arguments}, value);
{result} = value;"""


def _functions(name: str, c: str, compute: str) -> str:
    """The formula in the C type `c`, after what it calls."""
    formula, text = FORMULAS[name], ""
    if "normal_cdf" in formula.__code__.co_names:
        text = cuda_normal_cdf.c_function(compute, c)
    return text + c_text.device_function(formula, c)
