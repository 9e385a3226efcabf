"""The CUDA C text of a rule on arrays without gaps: sixteen bytes of each at a time.

With one element a thread and access a GPU's processors have too few bytes under way to fill its
memory's pipe. Plain text, so that it can be proven without a GPU.
"""

from __future__ import annotations

import re

import numpy as np

from ..compiling import cuda_launch
from ..compiling.c_text import PREAMBLE, operation
from ..compiling.dtypes import C_TYPES, compute_dtype
from ..compiling.python_text import array_names, scalar_names
from ..rule import Rule

BYTES = 16

_TEXT = """
struct __align__(BYTES) Pack { T at[EACH]; };
#define PACK(array, k) (((Pack *)array)[k])

__device__ __forceinline__ void step(ELEMENTS, SCALARS) {
OPERATION
}

extern "C" __global__ __launch_bounds__(THREADS)
void SYMBOL(ARRAYS, long long size, SCALARS) {
    const bool aligned = (ADDRESSES) % BYTES == 0;
    const long long packs = aligned ? size / EACH : 0;
    const long long all = (long long)gridDim.x * blockDim.x;
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    #pragma unroll 1
    for (long long k = first; k < packs; k += all) {
        LOADS
        #pragma unroll
        for (int j = 0; j < EACH; ++j) step(PARTS, VALUES);
        STORES
    }
    #pragma unroll 1
    for (long long k = packs * EACH + first; k < size; k += all) step(SINGLES, VALUES);
}
"""


def each(dtype: str) -> int:
    """Elements that a thread takes at a time."""
    return BYTES // np.dtype(dtype).itemsize


def symbol(rule: Rule, dtype: str) -> str:
    """What the text calls the kernel."""
    return f"onepass_{rule.name.replace('-', '_')}_{dtype}"


def source(rule: Rule, dtype: str) -> str:
    """The kernel's whole text: (*arrays, size, *coefficients)."""
    names, scalars = array_names(rule), scalar_names(rule)
    written = [name for name in names if name != "g"]

    def const(name: str) -> str:
        return "" if name in written else "const "

    words = {
        "ELEMENTS": ", ".join(f"{const(name)}T &{name}" for name in names),
        "SCALARS": ", ".join(f"C {name}" for name in scalars),
        "OPERATION": operation(rule, "C"),
        "SYMBOL": symbol(rule, dtype),
        "ARRAYS": ", ".join(f"{const(name)}T *{name}" for name in names),
        "ADDRESSES": " | ".join(f"(size_t){name}" for name in names),
        "LOADS": " ".join(f"{const(name)}Pack {name}_k = PACK({name}, k);" for name in names),
        "PARTS": ", ".join(f"{name}_k.at[j]" for name in names),
        "VALUES": ", ".join(scalars),
        "STORES": " ".join(f"PACK({name}, k) = {name}_k;" for name in written),
        "SINGLES": ", ".join(f"{name}[k]" for name in names),
        "BYTES": str(BYTES),
        "EACH": str(each(dtype)),
        "THREADS": str(cuda_launch.THREADS),
    }
    text = f"typedef {C_TYPES[dtype]} T;\ntypedef {C_TYPES[compute_dtype(dtype)]} C;\n{PREAMBLE}"
    return text + re.sub(r"\b[A-Z]+\b", lambda found: words.get(found[0], found[0]), _TEXT)
