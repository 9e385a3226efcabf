"""What becomes of a channel's sums: its statistics, gradients and coefficients, as CUDA C text.

A thread has a channel; it puts coefficients where the block's threads take those of their items,
and where it is told to `write`, what a user sees goes to memory. gamma, beta, the running
statistics and the places of gradients may be null.
"""

from __future__ import annotations

CHANNELS = """
// A number near a channel's mean, whatever one outlier is: the median of three of its values.
__device__ __forceinline__ C near_of(
    const T *x, Index channel, Index outer, Index channels, Index inner
) {
    const Index middle_one = (outer / 2 * channels + channel) * inner + inner / 2;
    const Index last = ((outer - 1) * channels + channel + 1) * inner - 1;
    C near;
    middle(C(x[channel * inner]), C(x[middle_one]), C(x[last]), near);
    return near;
}

// Coefficients of every channel of a block: center, scale, shift, and in a backward slope, offset.
typedef C Coefficients[CHANNELS];

__device__ __forceinline__ void put_affine(
    const C *gamma, const C *beta, Index c, C center, C rest, C inv_std, Coefficients *to, int k
) {
    to[0][k] = center;
    affine(gamma ? gamma[c] : C(1), beta ? beta[c] : C(0), rest, inv_std, to[1][k], to[2][k]);
}

// From the mean less `near` and the sum of squared deviations.
__device__ __forceinline__ void forward_of(
    Index c, Index channels, C near, C mean, C m2, C m, const C *gamma, const C *beta,
    C *running_mean, C *running_var, C *kept, C eps, C momentum, C keep, const long long *stop,
    bool write, Coefficients *to, int k
) {
    const C center = near + mean, rest = mean - (center - near);
    C inv_std;
    deviation(m2 / m, eps, C(1), inv_std);
    put_affine(gamma, beta, c, center, rest, inv_std, to, k);
    if (!write) return;
    kept[c] = center;
    kept[channels + c] = rest;
    kept[2 * channels + c] = inv_std;
    if (running_mean && !(stop && *stop)) {
        averaged(running_mean[c], center + rest, keep, momentum);
        averaged(running_var[c], m2 / (m - C(1)), keep, momentum);
    }
}

__device__ __forceinline__ void put_kept(
    const C *kept, Index c, Index channels, const C *gamma, const C *beta, Coefficients *to, int k
) {
    put_affine(gamma, beta, c, kept[c], kept[channels + c], kept[2 * channels + c], to, k);
}

// From the sums of dy and of dy (x - center).
__device__ __forceinline__ void backward_of(
    Index c, Index channels, C one, C two, C m, const C *kept, C *gamma_grad, C *beta_grad,
    bool write, Coefficients *to, int k
) {
    C dgamma, dbeta;
    gradients(one, two, kept[channels + c], kept[2 * channels + c], m, dgamma, dbeta, to[3][k],
              to[4][k]);
    if (write && gamma_grad) gamma_grad[c] = dgamma;
    if (write && beta_grad) beta_grad[c] = dbeta;
}

// y of an element, and dy, or 0 where ReLU stopped it.
__device__ __forceinline__ C y_of(C x, C center, C scale, C shift BESIDE(, C residual)) {
    C y;
    normalized(x, center, scale, shift, y);
    BESIDE(added(y, residual);)
    if (RELU) rectified(y, C(0));
    return y;
}
__device__ __forceinline__ C passed(C dy, C y) { return y <= C(0) ? C(0) : dy; }
__device__ __forceinline__ C gated(C dy, C x, C center, C scale, C shift) {
    C y;
    if (!RELU) return dy;
    normalized(x, center, scale, shift, y);
    return passed(dy, y);
}
"""
