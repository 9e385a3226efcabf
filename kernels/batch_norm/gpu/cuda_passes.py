"""The kernels of arrays that a block can't keep: one sums them up, in parts, and one applies.

The one that applies first joins the partial results of its own channels, each block in the same
order. The first block of a channel writes what a user sees of it.
"""

from __future__ import annotations

_HEAD = 'extern "C" __global__ __launch_bounds__(THREADS, RESIDENT) void NAME'

# The channel of a thread where each has one, and whether it is the one that has it for the block.
_MINE = """
    Walk w(GIVEN);
    const int k = threadIdx.x % tile;
    const Index c = (Index)blockIdx.x * tile + k;
    const bool mine = threadIdx.x < tile && c < channels;
"""

# Sums of x less one of the thread's own values, the median of its first three, with no division
# before the last; then of each thread's mean and of squares about the block's.
_MOMENTS = (
    _HEAD
    + """(
    const T *x, C *partial, SHAPE
) {
    __shared__ C room[ROOM], near_[CHANNELS], mean_[CHANNELS];"""
    + _MINE
    + """
    if (mine) near_[k] = near_of(x, c, outer, channels, inner);
    const C count = w.left > 0 ? C((w.left + w.by - 1) / w.by) : C(0);
    C near[KINDS], one[EACH], two[EACH];
    EVERY_KIND near[j] = 0;
    EVERY_ELEMENT one[j] = two[j] = 0;
    if (w.left > 0) {
        Walk ahead = w;
        Item seen[3];
        #pragma unroll
        for (int i = 0; i < 3; ++i) {
            seen[i] = item(x, ahead.at);
            if (ahead.left > w.by) ahead.left -= w.by, ahead.step();
        }
        EVERY_KIND middle(C(seen[0].at[j]), C(seen[1].at[j]), C(seen[2].at[j]), near[j]);
    }
    walk<DEEP>(w, [&](const Index *places, auto there) {
        Item values[DEEP];
        #pragma unroll
        for (int i = 0; i < DEEP; ++i)
            if (there(i)) values[i] = item(x, places[i]);
        #pragma unroll
        for (int i = 0; i < DEEP; ++i)
            if (there(i)) EVERY_ELEMENT {
                const C value = C(values[i].at[j]) - near[KIND(j)];
                one[j] += value;
                two[j] += value * value;
            }
    });
    __syncthreads();
    C sums[EACH];
    EVERY_ELEMENT {
        if (count > C(0)) {
            of_sums(one[j], two[j], count, C(0), one[j], two[j]);
            one[j] += near[KIND(j)] - near_[w.channel(j)];
        }
        sums[j] = count * one[j];
    }
    const C mean = joined(sums, room, tile, w) / C(values_of(blockIdx.y, GIVEN));
    if (mine) mean_[k] = mean;
    __syncthreads();
    if (count > C(0)) EVERY_ELEMENT about(two[j], one[j], count, mean_[w.channel(j)]);
    const C m2 = joined(two, room, tile, w);
    if (!mine) return;
    partial[blockIdx.y * channels + c] = mean;
    partial[(gridDim.y + blockIdx.y) * channels + c] = m2;
    if (blockIdx.y == 0) partial[2 * gridDim.y * channels + c] = near_[k];
}
"""
)

_PRODUCTS = (
    _HEAD
    + """(
    const T *x, const T *dy,ALSO const C *kept, const C *gamma,
    const C *beta, C *partial, SHAPE
) {
    __shared__ C room[ROOM];
    __shared__ Coefficients of[3];"""
    + _MINE
    + """
    if (mine) put_kept(kept, c, channels, gamma, beta, of, k);
    __syncthreads();
    C center[KINDS], scale[KINDS], shift[KINDS], one[EACH], two[EACH];
    TAKE_AFFINE
    EVERY_ELEMENT one[j] = two[j] = 0;
    constexpr int AT_ONCE = RESIDUAL && EACH == 1 ? DEEP / 4 : DEEP / 2;
    walk<AT_ONCE>(w, [&](const Index *places, auto there) {
        Item values[AT_ONCE], given[AT_ONCE];
        BESIDE(Item results[AT_ONCE];)
        #pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
            if (there(i)) {
                values[i] = item(x, places[i]), given[i] = item(dy, places[i]);
                BESIDE(results[i] = item(y, places[i]);)
            }
        #pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
            if (there(i)) {
                EVERY_ELEMENT {
                    const int kind = KIND(j);
                    const C value = C(values[i].at[j]);
#if RESIDUAL
                    const C g = passed(C(given[i].at[j]), C(results[i].at[j]));
                    results[i].at[j] = T(g);
#else
                    const C g = gated(C(given[i].at[j]), value, center[kind], scale[kind],
                                      shift[kind]);
#endif
                    one[j] += g;
                    two[j] += g * (value - center[kind]);
                }
                BESIDE(put(dz, places[i], results[i]);)
            }
    });
    const C first = joined(one, room, tile, w), second = joined(two, room, tile, w);
    if (!mine) return;
    partial[blockIdx.y * channels + c] = first;
    partial[(gridDim.y + blockIdx.y) * channels + c] = second;
}
"""
)

# The parts that a thread joins: every so many-th of its channel.
_EVERY_PART = """
    const int each = THREADS / tile, part_ = threadIdx.x / tile;
    const Index parts = gridDim.y, begin = part_ < each && c < channels ? part_ : parts;
"""

_NORMALIZED = """
    __syncthreads();
    C center[KINDS], scale[KINDS], shift[KINDS];
    TAKE_AFFINE
    constexpr int AT_ONCE = RESIDUAL ? DEEP / 2 : DEEP;
    walk<AT_ONCE>(w, [&](const Index *places, auto there) {
        Item values[AT_ONCE];
        BESIDE(Item more[AT_ONCE];)
        #pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
            if (there(i)) {
                values[i] = item(x, places[i]);
                BESIDE(more[i] = item(residual, places[i]);)
            }
        #pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
            if (there(i)) {
                EVERY_ELEMENT values[i].at[j] = T(y_of(
                    C(values[i].at[j]), center[KIND(j)], scale[KIND(j)], shift[KIND(j)]
                    BESIDE(, C(more[i].at[j]))));
                put(y, places[i], values[i]);
            }
    });
}
"""

_NORMALIZE = (
    _HEAD
    + """(
    const T *x,ALSO const C *partial, const C *gamma, const C *beta,
    C *running_mean, C *running_var, C *kept, T *y, SHAPE, const C eps, const C momentum,
    const C keep, const long long *stop
) {
    __shared__ C room[ROOM];
    __shared__ Coefficients of[3];"""
    + _MINE
    + _EVERY_PART
    + """
    const C *means = partial + c, *squares = means + parts * channels;
    const C m = C(outer * inner);
    C mean = 0, m2 = 0;
    for (Index part = begin; part < parts; part += each)
        mean += C(values_of(part, GIVEN)) * means[part * channels];
    mean = total(mean, room, tile) / m;
    for (Index part = begin; part < parts; part += each) {
        C more = squares[part * channels];
        about(more, means[part * channels], C(values_of(part, GIVEN)), mean);
        m2 += more;
    }
    m2 = total(m2, room, tile);
    if (mine)
        forward_of(c, channels, squares[parts * channels], mean, m2, m, gamma, beta, running_mean,
                   running_var, kept, eps, momentum, keep, stop, blockIdx.y == 0, of, k);
"""
    + _NORMALIZED
)

_INFER = (
    _HEAD
    + """(
    const T *x,ALSO const C *mean, const C *var, const C *gamma,
    const C *beta, T *y, SHAPE, const C eps
) {
    __shared__ Coefficients of[3];"""
    + _MINE
    + """
    if (mine) {
        C inv_std;
        deviation(var[c], eps, C(1), inv_std);
        put_affine(gamma, beta, c, mean[c], C(0), inv_std, of, k);
    }
"""
    + _NORMALIZED
)

_DIFFERENTIATE = (
    _HEAD
    + """(
    const T *x, const T *dy, const C *partial, const C *kept, const C *gamma, const C *beta,
    C *gamma_grad, C *beta_grad, T *dx, SHAPE
) {
    __shared__ C room[ROOM];
    __shared__ Coefficients of[5];"""
    + _MINE
    + _EVERY_PART
    + """
    C one = 0, two = 0;
    for (Index part = begin; part < parts; part += each) {
        one += partial[part * channels + c];
        two += partial[(parts + part) * channels + c];
    }
    one = total(one, room, tile);
    two = total(two, room, tile);
    if (mine) {
        put_kept(kept, c, channels, gamma, beta, of, k);
        backward_of(c, channels, one, two, C(outer * inner), kept, gamma_grad, beta_grad,
                    blockIdx.y == 0, of, k);
    }
    __syncthreads();
    C center[KINDS], scale[KINDS], shift[KINDS], slope[KINDS], offset[KINDS];
    TAKE_AFFINE
    TAKE_SLOPES
    walk<DEEP / 2>(w, [&](const Index *places, auto there) {
        Item values[DEEP / 2], given[DEEP / 2];
        #pragma unroll
        for (int i = 0; i < DEEP / 2; ++i)
            if (there(i)) values[i] = item(x, places[i]), given[i] = item(dy, places[i]);
        #pragma unroll
        for (int i = 0; i < DEEP / 2; ++i)
            if (there(i)) {
                EVERY_ELEMENT {
                    const int kind = KIND(j);
                    const C value = C(values[i].at[j]);
                    const C g = gated(C(given[i].at[j]), value, center[kind], scale[kind],
                                      shift[kind]);
                    C result;
                    input_gradient(g, value, center[kind], scale[kind], slope[kind], offset[kind],
                                   result);
                    values[i].at[j] = T(result);
                }
                put(dx, places[i], values[i]);
            }
    });
}
"""
)

TAKES = """
#define TAKE_AFFINE EVERY_KIND { \\
    const int at = w.channel(j); \\
    center[j] = of[0][at], scale[j] = of[1][at], shift[j] = of[2][at]; \\
}
#define TAKE_SLOPES EVERY_KIND { \\
    const int at = w.channel(j); \\
    slope[j] = of[3][at], offset[j] = of[4][at]; \\
}
"""

PASSES = {
    "moments": _MOMENTS,
    "normalize": _NORMALIZE,
    "products": _PRODUCTS,
    "differentiate": _DIFFERENTIATE,
    "infer": _INFER,
}
