"""Sums of a matrix's columns on a GPU, in one launch: a bias's gradient.

A block has a tile of neighbouring columns and a part of the rows; a thread reads sixteen bytes of a
row at a time, or as many of them as rows begin at multiples of. The last block of a tile to be
done joins its parts. Which thread takes what, and in what order sums are joined, depends on shapes
and on the GPU's processors alone, so that results never change from run to run.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import NamedTuple

import numpy as np

from ....backend import Array
from ...array_arguments import start_of
from ..dtypes import C_TYPES, GPU_COMPUTED, NAMES, compute_dtype
from .cuda_launch import (
    NULL,
    ZEROS,
    RawKernel,
    made_lately,
    made_once,
    processors,
    zero_between_launches,
)
from .cuda_packs import BYTES

KERNEL = "column_sums"
THREADS = 256  # of a block
ACROSS = 128  # bytes of a tile's row at most
LANES = 32  # items of it at most
RESIDENT = 4  # blocks that a processor holds: a thread then has 64 registers
LEAST = 4  # rows of a thread, which it has under way at once

_TEXT = """
struct __align__(sizeof(T) * EACH) Item { T at[EACH]; };
#define EVERY_ELEMENT _Pragma("unroll") for (int j = 0; j < EACH; ++j)

// What threads of the same columns have, `lanes` apart: to the first of them.
__device__ __forceinline__ void join(C *sum, C *room, int lanes) {
    const int t = threadIdx.x;
    EVERY_ELEMENT room[j * THREADS + t] = sum[j];
    for (int half = THREADS / 2; half >= lanes; half /= 2) {
        __syncthreads();
        if (t < half) EVERY_ELEMENT room[j * THREADS + t] += room[j * THREADS + t + half];
    }
    EVERY_ELEMENT sum[j] = room[j * THREADS + t];
}
extern "C" __global__ __launch_bounds__(THREADS, RESIDENT) void column_sums(
    const T *x, T *sums, C *parts, unsigned *done, const long long rows, const long long columns,
    const long long share, const int lanes
) {
    __shared__ C room[THREADS * EACH];
    __shared__ bool last;
    const int t = threadIdx.x, by = THREADS / lanes, row = t / lanes;
    const long long column = ((long long)blockIdx.x * lanes + t % lanes) * EACH;
    const bool there = column < columns, first = there && t < lanes;
    const long long start = blockIdx.y * share, jump = by * columns;
    long long left = there ? min(share, rows - start) - row : 0;
    long long at = (start + row) * columns + column;
    C sum[EACH];
    EVERY_ELEMENT sum[j] = 0;
    #pragma unroll 1
    for (; left > 3 * by; left -= 4 * by) {
        Item some[4];
        #pragma unroll
        for (int i = 0; i < 4; ++i, at += jump) some[i] = *(const Item *)(x + at);
        EVERY_ELEMENT sum[j] += (C(some[0].at[j]) + C(some[1].at[j]))
                              + (C(some[2].at[j]) + C(some[3].at[j]));
    }
    #pragma unroll 1
    for (; left > 0; left -= by, at += jump) {
        const Item one = *(const Item *)(x + at);
        EVERY_ELEMENT sum[j] += C(one.at[j]);
    }
    join(sum, room, lanes);
    if (gridDim.y > 1) {
        if (first) EVERY_ELEMENT parts[blockIdx.y * columns + column + j] = sum[j];
        __threadfence();
        __syncthreads();
        if (t == 0) last = atomicAdd(done + blockIdx.x, 1u) == gridDim.y - 1;
        __syncthreads();
        if (!last) return;
        __threadfence();
        EVERY_ELEMENT sum[j] = 0;
        if (there)
            for (unsigned part = row; part < gridDim.y; part += by)
                EVERY_ELEMENT sum[j] += parts[part * columns + column + j];
        join(sum, room, lanes);
        if (t == 0) done[blockIdx.x] = 0;
    }
    if (first) EVERY_ELEMENT sums[column + j] = T(sum[j]);
}
"""


class Plan(NamedTuple):
    """`across` x `parts` blocks, each of `share` rows of `lanes` items of `each` elements."""

    each: int
    lanes: int
    across: int
    parts: int
    share: int


@made_lately
def plan_of(rows: int, columns: int, itemsize: int, aligned: int, processors: int) -> Plan:
    """The plan for a matrix that begins at a multiple of so many bytes, BYTES at most."""
    size = gcd(aligned, columns * itemsize)
    each, items = size // itemsize, columns * itemsize // size
    lanes = min(1 << (items - 1).bit_length(), ACROSS // size, LANES)
    across = -(-items // lanes)
    wanted = min(-(-RESIDENT * processors // across), rows * lanes // (LEAST * THREADS))
    share = -(-rows // (max(1, wanted) if across <= ZEROS else 1))  # each tile counts its blocks
    return Plan(each, lanes, across, -(-rows // share), share)


def source(dtype: str, each: int) -> str:
    """The kernel's whole text."""
    types = {"T": C_TYPES[dtype], "C": C_TYPES[compute_dtype(dtype)]}
    numbers = {"THREADS": THREADS, "RESIDENT": RESIDENT, "EACH": each}
    return (
        "".join(f"typedef {kind} {alias};\n" for alias, kind in types.items())
        + "".join(f"#define {key} {number}\n" for key, number in numbers.items())
        + _TEXT
    )


@made_once
def raw_kernel(dtype: str, each: int) -> RawKernel:
    """The kernel for arrays of a dtype, whose items have so many elements."""
    return RawKernel(KERNEL, dtype, source(dtype, each))


def column_sums(x: Array, sums: Array) -> Callable[[], None]:
    """What writes the sums of the columns that x has by then into `sums`, on the current device.

    All is compiled and all memory taken by now, so that x may be written before the call: what
    follows fails at nothing of that.

    Args:
        x: float16, float32 or float64, without gaps; of rows as long as `sums`, however many axes.
        sums: of x's dtype.
    """
    from cupy import empty

    columns, rows = sums.size, x.size // sums.size
    place = sums
    if not sums.flags.c_contiguous:
        place = empty(columns, sums.dtype)
        sums[...] = sums.copy()  # its own values: what copies to this layout is compiled now
    if rows:
        sum_up = _prepared(x, place, rows, columns)

    def run() -> None:
        if rows:
            sum_up()
        else:
            place.fill(0)
        if place is not sums:
            sums[...] = place

    return run


def _prepared(x: Array, sums: Array, rows: int, columns: int) -> Callable[[], None]:
    from cupy import empty

    aligned = gcd(start_of(x), BYTES)
    plan = plan_of(rows, columns, x.itemsize, aligned, processors(x.device.id))
    kernel = raw_kernel(NAMES[x.dtype], plan.each)
    kernel.compile()
    parts = done = NULL
    if plan.parts > 1:
        parts, done = empty((plan.parts, columns), GPU_COMPUTED[x.dtype]), zero_between_launches(x)
    sizes = *map(np.int64, (rows, columns, plan.share)), np.int32(plan.lanes)
    given = x, sums, parts, done, *sizes
    return lambda: kernel(x, (plan.across, plan.parts), THREADS, *given)
