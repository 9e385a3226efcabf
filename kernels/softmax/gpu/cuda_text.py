"""The CUDA C text of softmax cross-entropy, as plain text so that it can be proven without a GPU.

A kernel writes the gradient and, for each block, the sum of its rows' losses and how many of them
are right; the last block that is done adds those up, in their order and in float64, so that results
never change from run to run. Columns past a row's end count as -inf, whose exponential is 0; a row
that holds NaN, inf or nothing but -inf has a sum of exponentials that is NaN, and so is all of it.
Smoothed labels take one more sum of each row, and so code of their own.
"""

from __future__ import annotations

from functools import cache

from ...compiling import c_text
from ...compiling.dtypes import C_TYPES, compute_dtype
from ...compiling.gpu.cuda_reductions import TREE, WARPS
from .. import formula
from .plan import WARP

# threads that a processor of the GPU must be able to hold, so that each has 64 or 80 registers
RESIDENT = {"float32": 1024, "float64": 768}
_FUNCTIONS = formula.added, formula.shares, formula.row_loss
_SMOOTHING = formula.smoothed_shares, formula.smoothed_below


def source(
    name: str,
    dtype: str,
    labels: str = "int64",
    threads: int = 256,
    lanes: int = WARP,
    kept: int = 1,
    wide: bool = False,
    smoothed: bool = False,
) -> str:
    """A kernel's whole text.

    Args:
        name: one of `KERNELS`.
        dtype, labels: of the logits, and of the labels.
        threads: of a block; a multiple of 32.
        lanes: threads of a row.
        kept: values of a row that a thread keeps in registers.
        wide: whether the number of a column may not fit 32 bits.
        smoothed: whether it takes how much labels are smoothed, as its last argument.
    """
    compute = "double" if dtype == "float64" else "float"
    types = {"T": C_TYPES[dtype], "C": compute, "L": C_TYPES[labels]}
    types["Column"] = "long long" if wide else "int"
    resident = max(1, RESIDENT[compute_dtype(dtype)] // threads)
    numbers = {"THREADS": threads, "LANES": lanes, "KEPT": kept, "RESIDENT": resident}
    numbers["SMOOTHED"] = int(smoothed)
    body = _BODIES[name].replace("NAME", name)
    return (
        "".join(f"typedef {kind} {alias};\n" for alias, kind in types.items())
        + "".join(f"#define {key} {number}\n" for key, number in numbers.items())
        + _functions(compute, smoothed)
        + body.replace(" SMOOTHING", ", const C smoothing" if smoothed else "")
    )


@cache
def _functions(compute: str, smoothed: bool) -> str:
    needed = _FUNCTIONS + _SMOOTHING * smoothed
    return "".join(c_text.device_function(function, compute) for function in needed)


# What both kernels of rows share. A row's class is read, and its logit, by the thread whose column
# it is, since the gradient may replace the logits.
_ROW = (
    WARPS
    + TREE
    + """
// A class's part of the gradient: smoothed labels take off `even` of each.
#if SMOOTHED
#define LESS_EVEN(p) (p) - even
#else
#define LESS_EVEN(p) p
#endif
// The class of a row, or -1 where its label names none.
__device__ __forceinline__ Column class_of(const L *labels, long long row, Column width) {
    const long long k = (long long)labels[row];
    return k >= 0 && k < width ? (Column)k : (Column)-1;
}
// Those of all rows that a block took; where all blocks have written theirs, what they come to.
// `done` is 0 before and after.
__device__ __forceinline__ void write_loss(
    C loss, C right, C *parts, unsigned *done, double *mean, long long *correct, long long rows
) {
    __shared__ C losses_[THREADS / WARP], rights_[THREADS / WARP];
    __shared__ double losses[THREADS], rights[THREADS];
    __shared__ bool last;
    const int t = threadIdx.x;
    loss = across_block<Sum>(loss, losses_);
    right = across_block<Sum>(right, rights_);
    if (t == 0) {
        parts[blockIdx.x] = loss;
        parts[gridDim.x + blockIdx.x] = right;
        __threadfence();
        last = atomicAdd(done, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    losses[t] = rights[t] = 0;
    for (int i = t; i < gridDim.x; i += THREADS) {
        losses[t] += parts[i];
        rights[t] += parts[gridDim.x + i];
    }
    tree<1>([&](int t, int other) {
        losses[t] += losses[other];
        rights[t] += rights[other];
    });
    if (t) return;
    *mean = losses[0] / rows;
    if (correct) *correct = (long long)rights[0];
    *done = 0;
}
"""
)

_LANES = (
    _ROW
    + """
extern "C" __global__ __launch_bounds__(THREADS, RESIDENT) void NAME(
    const T *logits, const L *labels, const C *weights, T *gradient, C *parts, unsigned *done,
    double *mean, long long *correct, const long long rows, const Column width SMOOTHING
) {
    const int at_once = THREADS / LANES, lane = threadIdx.x % LANES;
    const C lowest = C(-1) / C(0), unknown = C(0) / C(0);
    C loss = 0, right = 0;
    for (long long first = (long long)blockIdx.x * at_once; first < rows;
         first += (long long)gridDim.x * at_once) {
        const long long row = first + threadIdx.x / LANES;
        const bool there = row < rows;  // all threads of a warp take part in what follows
        const Column left = there ? width - lane : 0;
        const long long place = there ? row * width + lane : 0;
        C values[KEPT], top = lowest, sum = 0, lost = 0;
        #pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            values[i] = i * LANES < left ? C(logits[place + i * LANES]) : lowest;
            top = max(top, values[i]);
        }
        const Column k = there ? class_of(labels, row, width) : 0;
        const bool mine = there && (k < 0 ? 0 : k % LANES) == lane;
        const C own = mine && k >= 0 ? C(logits[place + k - lane]) : unknown;
        const C below = __shfl_sync(EVERY, own, k < 0 ? 0 : k % LANES, LANES);
        top = across_lanes<Largest>(top, LANES);
        C beaten = below < top;  // its class is not the first of the largest
        #pragma unroll
        for (int i = 0; i < KEPT; ++i)
            if (values[i] == top && i * LANES < k - lane) beaten = 1;
        beaten = across_lanes<Largest>(beaten, LANES);
#if SMOOTHED
        C fallen = 0;
        #pragma unroll
        for (int i = 0; i < KEPT; ++i)
            if (i * LANES < left) added(fallen, lost, values[i] - top);
        fallen = across_lanes<Sum>(fallen, LANES);
        fallen = fallen == fallen ? fallen / C(width) : lowest;  // NaN beside a z of -inf
        C between = below - top;
        smoothed_below(between, fallen, smoothing, C(1) - smoothing);
        lost = 0;
#endif
        #pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            values[i] = exp(values[i] - top);
            added(sum, lost, values[i]);
        }
        sum = across_lanes<Sum>(sum, LANES);
        const C weight = there && weights ? weights[row] : C(1);
        C share, factor, of_row;
        shares(weight, k < 0 ? unknown : sum, C(rows), share, factor);
#if SMOOTHED
        C even;
        smoothed_shares(share, smoothing, C(1) - smoothing, C(width), even);
        row_loss(weight, log(sum), between, of_row);
#else
        row_loss(weight, log(sum), below - top, of_row);
#endif
        if (mine) {
            loss += of_row;
            right += of_row == of_row ? C(1) - beaten : C(0);
        }
        #pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            const C p = LESS_EVEN(values[i] * factor);
            if (i * LANES < left)
                gradient[place + i * LANES] = T(i * LANES == k - lane ? p - share : p);
        }
    }
    write_loss(loss, right, parts, done, mean, correct, rows);
}
"""
)

_BLOCK = (
    _ROW
    + """
extern "C" __global__ __launch_bounds__(THREADS, RESIDENT) void NAME(
    const T *logits, const L *labels, const C *weights, T *gradient, C *parts, unsigned *done,
    double *mean, long long *correct, const long long rows, const Column width SMOOTHING
) {
    // apart: one barrier each is enough
    __shared__ C tops[THREADS / WARP], sums[THREADS / WARP], heads[THREADS / WARP];
#if SMOOTHED
    __shared__ C falls[THREADS / WARP];
#endif
    const int t = threadIdx.x;
    const Column left = width - t, rest = (Column)KEPT * THREADS;  // from there on it reads again
    const C lowest = C(-1) / C(0), unknown = C(0) / C(0);
    C loss = 0, right = 0;
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const T *z = logits + row * width + t;
        T *result = gradient + row * width + t;
        const Column k = class_of(labels, row, width);
        const bool mine = (k < 0 ? 0 : k % THREADS) == t;
        const C below = k >= 0 ? C(z[k - t]) : unknown;
        C values[KEPT], top = lowest, sum = 0, lost = 0;
        #pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            values[i] = i * THREADS < left ? C(z[i * THREADS]) : lowest;
            top = max(top, values[i]);
        }
        for (Column i = rest; i < left; i += THREADS) top = max(top, C(z[i]));
        top = across_block<Largest>(top, tops);
        C beaten = below < top;
        #pragma unroll
        for (int i = 0; i < KEPT; ++i)
            if (values[i] == top && i * THREADS < k - t) beaten = 1;
        for (Column i = rest; i < k - t; i += THREADS)
            if (C(z[i]) == top) beaten = 1;
        beaten = across_block<Largest>(beaten, heads);
#if SMOOTHED
        C fallen = 0;
        #pragma unroll
        for (int i = 0; i < KEPT; ++i)
            if (i * THREADS < left) added(fallen, lost, values[i] - top);
        for (Column i = rest; i < left; i += THREADS) added(fallen, lost, C(z[i]) - top);
        fallen = across_block<Sum>(fallen, falls);
        fallen = fallen == fallen ? fallen / C(width) : lowest;  // NaN beside a z of -inf
        C between = below - top;
        smoothed_below(between, fallen, smoothing, C(1) - smoothing);
        lost = 0;
#endif
        #pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            values[i] = exp(values[i] - top);
            added(sum, lost, values[i]);
        }
        for (Column i = rest; i < left; i += THREADS) added(sum, lost, exp(C(z[i]) - top));
        sum = across_block<Sum>(sum, sums);
        const C weight = weights ? weights[row] : C(1);
        C share, factor, of_row;
        shares(weight, k < 0 ? unknown : sum, C(rows), share, factor);
#if SMOOTHED
        C even;
        smoothed_shares(share, smoothing, C(1) - smoothing, C(width), even);
        row_loss(weight, log(sum), between, of_row);
#else
        row_loss(weight, log(sum), below - top, of_row);
#endif
        if (mine) {
            loss += of_row;
            right += of_row == of_row ? C(1) - beaten : C(0);
        }
        #pragma unroll
        for (int i = 0; i < KEPT; ++i) {
            const C p = LESS_EVEN(values[i] * factor);
            if (i * THREADS < left) result[i * THREADS] = T(i * THREADS == k - t ? p - share : p);
        }
        for (Column i = rest; i < left; i += THREADS) {
            const C p = LESS_EVEN(exp(C(z[i]) - top) * factor);
            result[i] = T(i == k - t ? p - share : p);
        }
    }
    write_loss(loss, right, parts, done, mean, correct, rows);
}
"""
)

_BODIES = {"softmax_lanes": _LANES, "softmax_block": _BLOCK}
KERNELS = tuple(_BODIES)
