"""The CUDA C text of batch normalization, as plain text so that it can be proven without a GPU.

Memory is (outer, channel, inner). A block sums one part of WIDTH neighbouring channels, so that its
threads read neighbouring memory whether a channel's runs are long or short. It writes one partial
result; a kernel with a thread a channel merges the parts in their order, so that results never
change from run to run. Sums are of x - near, near being the median of three of a channel's values,
and then of x - center.
"""

from __future__ import annotations

from functools import cache

from ...compiling import c_text, cuda_launch
from ...compiling.cuda_reductions import TREE
from ...compiling.dtypes import C_TYPES
from .. import formula

_FUNCTIONS = (
    formula.middle,
    formula.welford,
    formula.merged,
    formula.deviation,
    formula.affine,
    formula.averaged,
    formula.normalized,
    formula.rectified,
    formula.gradients,
    formula.input_gradient,
)


@cache
def preamble(dtype: str) -> str:
    """The formulas as device functions, `T` (what arrays hold) and `C` (what is computed in)."""
    compute = "double" if dtype == "float64" else "float"
    functions = "".join(c_text.device_function(function, compute) for function in _FUNCTIONS)
    return (
        f"{c_text.PREAMBLE}typedef {C_TYPES[dtype]} T;\ntypedef {compute} C;\n{functions}"
        """
// dy, or 0 where ReLU stopped it.
__device__ __forceinline__ C gated(C dy, C x, C center, C scale, C shift) {
    C y;
    normalized(x, center, scale, shift, y);
    return y <= C(0) ? C(0) : dy;
}
"""
    )


def source(name: str, dtype: str, relu: bool = False, width: int = 1, wide: bool = False) -> str:
    """A kernel's whole text.

    Args:
        name: one of `KERNELS`.
        dtype: of the arrays.
        relu: whether ReLU followed.
        width: neighbouring channels of a block.
        wide: whether an index may not fit 32 bits.
    """
    index = f"typedef {'long long' if wide else 'int'} Index;\n"
    numbers = {"THREADS": cuda_launch.THREADS, "WIDTH": width, "RELU": int(relu)}
    defines = "".join(f"#define {key} {number}\n" for key, number in numbers.items())
    return preamble(dtype) + index + defines + _BODIES[name].replace("NAME", name)


# A number near a channel's mean, whatever one outlier is: the median of three of its values.
_NEAR = """
__device__ __forceinline__ C near_of(
    const T *x, Index channel, Index outer, Index channels, Index inner
) {
    const Index middle_one = (outer / 2 * channels + channel) * inner + inner / 2;
    const Index last = ((outer - 1) * channels + channel + 1) * inner - 1;
    C near;
    middle(C(x[channel * inner]), C(x[middle_one]), C(x[last]), near);
    return near;
}
"""

# A thread takes every (THREADS / WIDTH)-th value of its part of its channel: walk() calls body(at).
_WALK = """
__device__ __forceinline__ Index channel_of() {
    return (Index)blockIdx.x * WIDTH + threadIdx.x % WIDTH;
}
template <class Body>
__device__ __forceinline__ void walk(Index outer, Index channels, Index inner, Body body) {
    if (channel_of() >= channels) return;
    const long long m = (long long)outer * inner;
    const Index low = m * blockIdx.y / gridDim.y, high = m * (blockIdx.y + 1) / gridDim.y;
    const Index first = low + threadIdx.x / WIDTH, step = THREADS / WIDTH;
    Index n = first / inner, j = first % inner;
    for (Index left = high - first; left > 0; left -= step) {
        body((n * channels + channel_of()) * inner + j);
        n += step / inner;
        j += step % inner;
        if (j >= inner) {
            j -= inner;
            ++n;
        }
    }
}
"""

_MOMENTS = (
    _NEAR
    + _WALK
    + TREE
    + """
extern "C" __global__ __launch_bounds__(THREADS) void NAME(
    const T *x, C *means, C *m2s, const Index outer, const Index channels, const Index inner
) {
    __shared__ C counts_[THREADS], means_[THREADS], m2s_[THREADS];
    const Index channel = channel_of();
    const C near = channel < channels ? near_of(x, channel, outer, channels, inner) : C(0);
    C count = 0, mean = 0, m2 = 0;
    walk(outer, channels, inner, [&](Index at) {
        count += C(1);
        welford(mean, m2, count, C(x[at]) - near);
    });
    const int t = threadIdx.x;
    counts_[t] = count;
    means_[t] = mean;
    m2s_[t] = m2;
    tree<WIDTH>([&](int t, int other) {
        if (counts_[other] > C(0))
            merged(counts_[t], means_[t], m2s_[t], counts_[other], means_[other], m2s_[other]);
    });
    if (t < WIDTH && channel < channels) {
        means[blockIdx.y * channels + channel] = means_[t];
        m2s[blockIdx.y * channels + channel] = m2s_[t];
    }
}
"""
)

_PRODUCTS = (
    _WALK
    + TREE
    + """
extern "C" __global__ __launch_bounds__(THREADS) void NAME(
    const T *dy, const T *x, const C *kept, const C *gamma, const C *beta, C *sums,
    const Index outer, const Index channels, const Index inner
) {
    __shared__ C first_[THREADS], second_[THREADS];
    const Index channel = channel_of();
    C center = 0, scale = 0, shift = 0, one = 0, two = 0;
    if (channel < channels) {
        center = kept[channel];
        affine(gamma[channel], beta[channel], kept[channels + channel],
               kept[2 * channels + channel], scale, shift);
    }
    walk(outer, channels, inner, [&](Index at) {
        const C value = C(x[at]);
        C g = dy[at];
        if (RELU) g = gated(g, value, center, scale, shift);
        one += g;
        two += g * (value - center);
    });
    const int t = threadIdx.x;
    first_[t] = one;
    second_[t] = two;
    tree<WIDTH>([&](int t, int other) {
        first_[t] += first_[other];
        second_[t] += second_[other];
    });
    if (t < WIDTH && channel < channels) {
        sums[blockIdx.y * channels + channel] = first_[t];
        sums[(gridDim.y + blockIdx.y) * channels + channel] = second_[t];
    }
}
"""
)

# One thread a channel.
_FINISH_FORWARD = (
    _NEAR
    + """
extern "C" __global__ void NAME(
    const T *x, const C *means, const C *m2s, const C *gamma, const C *beta, C *running_mean,
    C *running_var, C *kept, C *coefficients, const int parts, const Index outer,
    const Index channels, const Index inner, const C eps, const C momentum, const C keep,
    const int has_running
) {
    const Index c = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    const long long all = (long long)outer * inner;
    C count = 0, mean = 0, m2 = 0;
    for (int part = 0; part < parts; ++part) {
        const C more = C((part + 1) * all / parts - part * all / parts);
        merged(count, mean, m2, more, means[part * channels + c], m2s[part * channels + c]);
    }
    const C m = C(all), near = near_of(x, c, outer, channels, inner), center = near + mean;
    const C rest = mean - (center - near);
    C inv_std, scale, shift;
    deviation(m2 / m, eps, C(1), inv_std);
    affine(gamma[c], beta[c], rest, inv_std, scale, shift);
    kept[c] = coefficients[c] = center;
    kept[channels + c] = rest;
    kept[2 * channels + c] = inv_std;
    coefficients[channels + c] = scale;
    coefficients[2 * channels + c] = shift;
    if (has_running) {
        averaged(running_mean[c], center + rest, keep, momentum);
        averaged(running_var[c], m2 / (m - C(1)), keep, momentum);
    }
}
"""
)

_FINISH_BACKWARD = """
extern "C" __global__ void NAME(
    const C *sums, const C *gamma, const C *beta, const C *kept, C *result, C *coefficients,
    const int parts, const Index channels, const C m
) {
    const Index c = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    C one = 0, two = 0;
    for (int part = 0; part < parts; ++part) {
        one += sums[part * channels + c];
        two += sums[(parts + part) * channels + c];
    }
    const C rest = kept[channels + c], inv_std = kept[2 * channels + c];
    C scale, shift;
    affine(gamma[c], beta[c], rest, inv_std, scale, shift);
    coefficients[c] = kept[c];
    coefficients[channels + c] = scale;
    coefficients[2 * channels + c] = shift;
    gradients(one, two, rest, inv_std, m, result[c], result[channels + c],
              coefficients[3 * channels + c], coefficients[4 * channels + c]);
}
"""

_BODIES = {
    "batch_norm_moments": _MOMENTS,
    "batch_norm_products": _PRODUCTS,
    "batch_norm_finish_forward": _FINISH_FORWARD,
    "batch_norm_finish_backward": _FINISH_BACKWARD,
}
KERNELS = tuple(_BODIES)
