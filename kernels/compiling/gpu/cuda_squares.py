"""Sums of squares on a GPU, in double precision: of one array, or of many in one launch.

A block writes the sum of its own elements; another kernel adds those up. Which thread takes what,
and in what order sums are joined, depends on sizes alone, so that results never change from run to
run. A square of float32 or float16 neither overflows a double nor gets lost in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ....backend import Array
from ..dtypes import C_TYPES, NAMES, compute_dtype
from .cuda_chunks import FOUND, Chunks, chunks_of
from .cuda_launch import RawKernel, made_once
from .cuda_packs import BYTES, each
from .cuda_reductions import WARPS

THREADS = 256  # of a block, some warps
MOST = 1 << 11  # blocks of one array: beyond that, threads take more elements
AT_ONCE = 4  # packs that a thread has under way

_HEAD = """
struct __align__(BYTES) Pack { T at[EACH]; };

__device__ __forceinline__ void add(const Pack &pack, double &sum) {
    #pragma unroll
    for (int j = 0; j < EACH; ++j) {
        const double value = (S)pack.at[j];
        sum += value * value;
    }
}
// Of what threads `first`, `first` + `all` and so on take.
template <typename Index>
__device__ __forceinline__ double squares(const T *x, Index size, Index first, Index all) {
    const Index packs = (size_t)x % BYTES == 0 ? size / EACH : 0;
    double sum = 0;
    Index k = first;
    #pragma unroll 1
    for (; k + (AT_ONCE - 1) * all < packs; k += AT_ONCE * all) {
        Pack some[AT_ONCE];
        #pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) some[i] = ((const Pack *)x)[k + i * all];
        #pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) add(some[i], sum);
    }
    #pragma unroll 1
    for (; k < packs; k += all) add(((const Pack *)x)[k], sum);
    #pragma unroll 1
    for (k = packs * EACH + first; k < size; k += all) {
        const double value = (S)x[k];
        sum += value * value;
    }
    return sum;
}
// Of all threads of a block.
__device__ __forceinline__ void write_sum(double sum, double *at) {
    __shared__ double parts[THREADS / WARP];
    sum = across_block<Sum>(sum, parts);
    if (threadIdx.x == 0) *at = sum;
}
"""

_BODIES = {
    "squares_array": """
extern "C" __global__ __launch_bounds__(THREADS)
void squares_array(const T *x, const long long size, double *sums) {
    const long long all = (long long)gridDim.x * blockDim.x;
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    write_sum(squares(x, size, first, all), sums + blockIdx.x);
}
""",
    "squares_chunks": """
extern "C" __global__ __launch_bounds__(THREADS)
void squares_chunks(const long long *x_at, const int *sizes, double *sums) {
    const int all = blockDim.x, first = threadIdx.x;
    write_sum(squares(found<const T>(x_at), sizes[blockIdx.x], first, all), sums + blockIdx.x);
}
""",
    "squares_total": """
extern "C" __global__ __launch_bounds__(THREADS)
void squares_total(const double *sums, const long long count, double *total) {
    double sum = 0;
    for (long long k = threadIdx.x; k < count; k += blockDim.x) sum += sums[k];
    write_sum(sum, total);
}
""",
}
KERNELS = tuple(_BODIES)


def source(name: str, dtype: str) -> str:
    """The whole text of one of KERNELS for arrays of a dtype."""
    types = {"T": C_TYPES[dtype], "S": C_TYPES[compute_dtype(dtype)], "C": "double"}
    numbers = {
        "THREADS": THREADS, "BYTES": BYTES, "EACH": each(dtype), "AT_ONCE": AT_ONCE
    }  # fmt: skip
    return (
        "".join(f"typedef {kind} {alias};\n" for alias, kind in types.items())
        + "".join(f"#define {key} {number}\n" for key, number in numbers.items())
        + WARPS + FOUND + _HEAD + _BODIES[name]
    )  # fmt: skip


@made_once
def raw_kernel(name: str, dtype: str) -> RawKernel:
    """One of KERNELS."""
    return RawKernel(name, dtype, source(name, dtype))


def sum_of_squares(arrays: Sequence[Array]) -> Array:
    """That of all elements of arrays of one GPU without gaps, left there as a double.

    They are of float16, float32 or float64, and at least one of them has elements.
    """
    full = [array for array in arrays if array.size]
    with full[0].device:
        if len(full) == 1:
            return _sum_of_array(full[0])
        kinds: dict[np.dtype, list[Array]] = {}
        for array in full:
            kinds.setdefault(array.dtype, []).append(array)
        return sum_of_chunks((table_of(some), 0) for some in kinds.values())


def table_of(arrays: Sequence[Array]) -> Chunks:
    """The chunks of arrays of one dtype."""
    sizes = np.array([array.size for array in arrays], np.int64)
    addresses = np.array([array.data.ptr for array in arrays], np.int64)
    return chunks_of(arrays[0], sizes, [addresses])


def sum_of_chunks(tables: Iterable[tuple[Chunks, int]]) -> Array:
    """That of all chunks of one argument of each table, on the current device; left there."""
    import cupy

    tables = [*tables]
    like = tables[0][0].like
    sums = cupy.empty(sum(len(chunks.cut) for chunks, _ in tables), "float64")
    start = 0
    for chunks, argument in tables:
        blocks = len(chunks.cut)
        kernel = raw_kernel("squares_chunks", NAMES[chunks.like.dtype])
        given = chunks.places[argument], chunks.sizes, sums[start : start + blocks]
        kernel(chunks.like, blocks, THREADS, *given)
        start += blocks
    return _total(like, sums)


def _sum_of_array(array: Array) -> Array:
    import cupy

    dtype = NAMES[array.dtype]
    blocks = min(-(-array.size // (AT_ONCE * each(dtype) * THREADS)), MOST)
    sums = cupy.empty(blocks, "float64")
    kernel = raw_kernel("squares_array", dtype)
    kernel(array, blocks, THREADS, array, np.int64(array.size), sums)
    return _total(array, sums)


def _total(like: Array, sums: Array) -> Array:
    import cupy

    total = cupy.empty((), "float64")
    kernel = raw_kernel("squares_total", NAMES[like.dtype])
    kernel(like, 1, THREADS, sums, np.int64(sums.size), total)
    return total
