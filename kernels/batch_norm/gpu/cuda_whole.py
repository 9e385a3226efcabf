"""The kernels of channels whose values a block keeps in registers: read once, in one launch."""

from __future__ import annotations

_HEAD = 'extern "C" __global__ __launch_bounds__(THREADS, RESIDENT) void NAME'

_MINE = """
    Walk w(GIVEN);
    const int k = threadIdx.x % tile;
    const Index c = (Index)blockIdx.x * tile + k;
    const bool mine = threadIdx.x < tile && c < channels;
    const Index left = w.left, by = w.by;
    const C m = C(outer * inner);
"""
_EVERY_ITEM = """
#define EVERY_ITEM _Pragma("unroll") for (int i = 0; i < KEPT; ++i) if (i * by < left)
#define EVERY_STEP _Pragma("unroll") for (int i = 0; i < KEPT; ++i, w.step()) if (i * by < left)

// Of an item, as what is computed in: it is converted once.
__device__ __forceinline__ void take(const T *array, Index at, C *values) {
    const Item found = item(array, at);
    EVERY_ELEMENT values[j] = C(found.at[j]);
}
__device__ __forceinline__ void give(T *array, Index at, const C *values) {
    Item made;
    EVERY_ELEMENT made.at[j] = T(values[j]);
    asm("" : "+r"(at));  // else the compiler sees through some places, and stores parts of items
    put(array, at, made);
}
"""

# First the mean, then the squares of what is left without it: both of what is kept.
_FORWARD = (
    _EVERY_ITEM
    + _HEAD
    + """(
    const T *x,ALSO const C *gamma, const C *beta, C *running_mean,
    C *running_var, C *kept, T *y, SHAPE, const C eps, const C momentum, const C keep,
    const long long *stop
) {
    __shared__ C room[ROOM], near_[CHANNELS], mean_[CHANNELS];
    __shared__ Coefficients of[3];"""
    + _MINE
    + """
    C values[KEPT][EACH] BESIDE(, more[KEPT][EACH]);
    EVERY_STEP {
        take(x, w.at, values[i]);
        BESIDE(take(residual, w.at, more[i]);)
    }
    if (mine) near_[k] = near_of(x, c, outer, channels, inner);
    __syncthreads();
    C sums[EACH];
    EVERY_ELEMENT {
        const C near = near_[w.channel(j)];
        sums[j] = 0;
        EVERY_ITEM sums[j] += values[i][j] - near;
    }
    const C mean = joined(sums, room, tile, w) / m;
    if (mine) mean_[k] = mean;
    __syncthreads();
    EVERY_ELEMENT {
        const C near = near_[w.channel(j)], middle_ = mean_[w.channel(j)];
        sums[j] = 0;
        EVERY_ITEM {
            const C value = (values[i][j] - near) - middle_;
            sums[j] += value * value;
        }
    }
    const C m2 = joined(sums, room, tile, w);
    if (mine)
        forward_of(c, channels, near_[k], mean, m2, m, gamma, beta, running_mean, running_var,
                   kept, eps, momentum, keep, stop, true, of, k);
    __syncthreads();
    EVERY_ELEMENT {
        const int at = w.channel(j);
        const C center = of[0][at], scale = of[1][at], shift = of[2][at];
        EVERY_ITEM values[i][j] = y_of(values[i][j], center, scale, shift BESIDE(, more[i][j]));
    }
    w = Walk(GIVEN);
    EVERY_STEP give(y, w.at, values[i]);
}
"""
)

_BACKWARD = (
    _EVERY_ITEM
    + _HEAD
    + """(
    const T *x, const T *dy,ALSO const C *kept, const C *gamma,
    const C *beta, C *gamma_grad, C *beta_grad, T *dx, SHAPE
) {
    __shared__ C room[ROOM];
    __shared__ Coefficients of[5];"""
    + _MINE
    + """
    C values[KEPT][EACH], given[KEPT][EACH];
#if RESIDUAL  // x comes behind the others: all three under way are too many for the registers
    EVERY_STEP {
        C results[EACH];
        take(dy, w.at, given[i]), take(y, w.at, results);
        EVERY_ELEMENT given[i][j] = passed(given[i][j], results[j]);
    }
    w = Walk(GIVEN);
    EVERY_STEP take(x, w.at, values[i]);
#else
    EVERY_STEP take(x, w.at, values[i]), take(dy, w.at, given[i]);
#endif
    if (mine) put_kept(kept, c, channels, gamma, beta, of, k);
    __syncthreads();
    C sums[EACH];
    EVERY_ELEMENT {
        const int at = w.channel(j);
        const C center = of[0][at], scale = of[1][at], shift = of[2][at];
        sums[j] = 0;
        EVERY_ITEM {
            if (!RESIDUAL) given[i][j] = gated(given[i][j], values[i][j], center, scale, shift);
            sums[j] += given[i][j];
        }
    }
    const C first = joined(sums, room, tile, w);
    EVERY_ELEMENT {
        const C center = of[0][w.channel(j)];
        sums[j] = 0;
        EVERY_ITEM sums[j] += given[i][j] * (values[i][j] - center);
    }
    const C second = joined(sums, room, tile, w);
    if (mine)
        backward_of(c, channels, first, second, m, kept, gamma_grad, beta_grad, true, of, k);
    __syncthreads();
    EVERY_ELEMENT {
        const int at = w.channel(j);
        const C center = of[0][at], scale = of[1][at], slope = of[3][at], offset = of[4][at];
        EVERY_ITEM {
            C result;
            input_gradient(given[i][j], values[i][j], center, scale, slope, offset, result);
            values[i][j] = result;
        }
    }
    w = Walk(GIVEN);
    EVERY_STEP {
        BESIDE(give(dz, w.at, given[i]);)
        give(dx, w.at, values[i]);
    }
}
"""
)

WHOLE = {"whole_forward": _FORWARD, "whole_backward": _BACKWARD}
