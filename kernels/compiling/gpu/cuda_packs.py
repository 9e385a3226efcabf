"""CUDA C text of kernels that do the same to each element of arrays without gaps: by sixteen bytes.

A launch takes one array of each kind, or chunks of many (cuda_chunks.py). With one element a thread
and access a GPU's processors have too few bytes under way to fill its memory's pipe. Plain text, so
that it can be proven without a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..dtypes import C_TYPES, GPU_COMPUTED, compute_dtype
from . import cuda_launch
from .cuda_chunks import FOUND, PACK, Chunks

BYTES = PACK
RESIDENT = 4  # blocks that a GPU's processor is to hold: a thread then has 64 registers
FEWER = 3  # the same of chunks, whose addresses take registers, too: amsgrad's would spill
MOST = 5  # arrays of float16 or float64
READ, WRITTEN, BOTH = "read", "written", "both"

_STEP = """
struct __align__(BYTES) Pack { T at[EACH]; };
#define PACK(array, k) (((Pack *)array)[k])

__device__ __forceinline__ void step(ELEMENTS, SCALARS) {
OPERATION
}
"""

# By threads `first`, `first` + `all` and so on, each a pack at a time.
_LOOP = """
    const bool aligned = (ADDRESSES) % BYTES == 0SHARED;
    const INDEX packs = aligned ? size / EACH : 0;
    #pragma unroll 1
    for (INDEX k = first; k < packs; k += all) {
        LOADS
        #pragma unroll
        for (int j = 0; j < EACH; ++j) step(PARTS, VALUES);
        STORES
    }
    #pragma unroll 1
    for (INDEX k = packs * EACH + first; k < size; k += all) step(SINGLES, VALUES);
}
"""

_ARRAYS = """
extern "C" __global__ __launch_bounds__(THREADS, RESIDENT)
void SYMBOL(ARRAYS, long long size, SCALARS) {
    const long long all = (long long)gridDim.x * blockDim.x;
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;"""

# A block takes one chunk of each array.
_CHUNKS = """
extern "C" __global__ __launch_bounds__(THREADS, RESIDENT)
void SYMBOL(PLACES, const int *sizes, GIVEN) {
    BEGIN
    CHUNKS
    const int size = sizes[blockIdx.x], all = blockDim.x, first = threadIdx.x;"""


def each(dtype: str) -> int:
    """Elements that a thread takes at a time."""
    return BYTES // np.dtype(dtype).itemsize


def many_registers(arrays: Collection[str], dtype: str) -> bool:
    """Whether packs of all these arrays leave few registers for arithmetic: a double takes two, and
    eight float16 are computed in float32."""
    return dtype != "float32" and len(arrays) > MOST


def launch_packed(
    kernel: cuda_launch.RawKernel, arrays: Sequence[Any], scalars: tuple[float, ...]
) -> None:
    """Launch a kernel of such text; `arrays` end with the columns where it has a `row`."""
    first = arrays[0]
    given = (*arrays, np.int64(first.size), *np.array(scalars, GPU_COMPUTED[first.dtype]))
    kernel(first, packed_blocks(first), cuda_launch.THREADS, *given)


def packed_blocks(array: Any) -> int:
    """The blocks of such a launch."""
    return cuda_launch.blocks_for(array.size, BYTES // array.dtype.itemsize)


def launch_chunks(
    kernel: cuda_launch.RawKernel, chunks: Chunks, scalars: tuple[float, ...]
) -> None:
    """Launch a kernel of `packed_chunks`."""
    launch_chunks_with(kernel, chunks, *np.array(scalars, GPU_COMPUTED[chunks.like.dtype]))


def launch_chunks_with(kernel: cuda_launch.RawKernel, chunks: Chunks, *given: Any) -> None:
    """Likewise one that is given something else in place of scalars."""
    every = (*chunks.places, chunks.sizes, *given)
    kernel(chunks.like, len(chunks.cut), cuda_launch.THREADS, *every)


def packed(
    symbol: str,
    dtype: str,
    arrays: Mapping[str, str],
    scalars: tuple[str, ...],
    operation: str,
    preamble: str = "",
    row: str = "",
) -> str:
    """The text of the kernel `symbol`(*arrays, size, *scalars), of arrays of `dtype`.

    Args:
        arrays: whether the operation reads each, writes it, or does both.
        scalars: of the type that is computed in, which the text calls C; elements are of type T.
        operation: what is done to an element; arrays and scalars are called by their names.
        preamble: what comes before.
        row: one array more, which is read, of as many elements as a row of the others has; the
            kernel is then `symbol`(*arrays, row, columns, size, *scalars).
    """
    words = _words(symbol, dtype, arrays, scalars, operation, row) | {"INDEX": "long long"}
    if many_registers(arrays, dtype):
        words["RESIDENT"] = str(FEWER)
    return _text(dtype, preamble, _STEP + _ARRAYS, words)


def packed_chunks(
    symbol: str,
    dtype: str,
    arrays: Mapping[str, str],
    scalars: tuple[str, ...],
    operation: str,
    preamble: str = "",
    given: str = "",
    begin: str = "",
    resident: int = FEWER,
) -> str:
    """The same for many arrays: the kernel `symbol`(*places, sizes, *scalars) of cuda_chunks.py.

    Args:
        given, begin: what it is given in place of the scalars, and the lines that make them of it.
        resident: blocks that a GPU's processor is to hold.
    """
    words = _words(symbol, dtype, arrays, scalars, operation)
    words |= {"INDEX": "int", "GIVEN": given or words["SCALARS"], "BEGIN": begin}
    words["RESIDENT"] = str(resident)
    return _text(dtype, preamble, _STEP + FOUND + _CHUNKS, words)


def _words(
    symbol: str,
    dtype: str,
    arrays: Mapping[str, str],
    scalars: tuple[str, ...],
    operation: str,
    row: str = "",
) -> dict[str, str]:
    """What stands for each word in capitals."""
    names = [*arrays, *([row] if row else [])]
    kinds = {**arrays, row: READ}
    written = [name for name in arrays if kinds[name] != READ]

    def const(name: str) -> str:
        return "const " if kinds[name] == READ else ""

    def load(name: str) -> str:
        at = "k % (columns / EACH)" if name == row else "k"
        found = f" = PACK({name}, {at})" if kinds[name] != WRITTEN else ""
        return f"{const(name)}Pack {name}_k{found};"

    def chunk(name: str) -> str:
        return f"{const(name)}T *{name} = found<{const(name)}T>({name}_at);"

    return {
        "ELEMENTS": ", ".join(f"{const(name)}T &{name}" for name in names),
        "SCALARS": ", ".join(f"C {name}" for name in scalars),
        "OPERATION": operation,
        "SYMBOL": symbol,
        "ARRAYS": ", ".join(f"{const(name)}T *{name}" for name in names)
        + (", long long columns" if row else ""),
        "PLACES": ", ".join(f"const long long *{name}_at" for name in names),
        "CHUNKS": " ".join(map(chunk, names)),
        "ADDRESSES": " | ".join(f"(size_t){name}" for name in names),
        "SHARED": " && columns % EACH == 0" if row else "",
        "LOADS": " ".join(map(load, names)),
        "PARTS": ", ".join(f"{name}_k.at[j]" for name in names),
        "VALUES": ", ".join(scalars),
        "STORES": " ".join(f"PACK({name}, k) = {name}_k;" for name in written),
        "SINGLES": ", ".join(f"{name}[{'k % columns' if name == row else 'k'}]" for name in names),
        "BYTES": str(BYTES),
        "THREADS": str(cuda_launch.THREADS),
        "RESIDENT": str(RESIDENT),
    }


def _text(dtype: str, preamble: str, kernel: str, words: Mapping[str, str]) -> str:
    text = re.sub(r"[A-Z]{4,}", lambda found: words.get(found[0], found[0]), kernel + _LOOP)
    text = text.replace("EACH", str(each(dtype)))
    types = f"typedef {C_TYPES[dtype]} T;\ntypedef {C_TYPES[compute_dtype(dtype)]} C;\n"
    return f"{types}{preamble}{text}"
