"""How the threads of a block join what each has: CUDA C text that every operation's kernels share.

Threads join in the same order at every run, so that results never change from run to run. The text
counts on `THREADS`, those of a block, and on `C`, what is computed in.
"""

from __future__ import annotations

# Threads are rows of WIDTH neighbours: join(t, other) takes row `other` to that of `t`, until row 0
# has all.
TREE = """
template <int WIDTH_, class Join> __device__ __forceinline__ void tree(Join join) {
    const int t = threadIdx.x;
    for (int half = THREADS / WIDTH_ / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t / WIDTH_ < half) join(t, t + half * WIDTH_);
    }
}
"""

# Over neighbouring lanes of a warp, or over a block, whose warps meet in `parts`: to all of them.
WARPS = """
#define EVERY 0xffffffffu
#define WARP 32
struct Largest { static __device__ C of(C a, C b) { return max(a, b); } };
struct Sum { static __device__ C of(C a, C b) { return a + b; } };
template <class Join> __device__ __forceinline__ C across_lanes(C value, int lanes) {
    #pragma unroll
    for (int by = WARP / 2; by > 0; by /= 2)
        if (by < lanes) value = Join::of(value, __shfl_xor_sync(EVERY, value, by));
    return value;
}
template <class Join> __device__ __forceinline__ C across_block(C value, C *parts) {
    value = across_lanes<Join>(value, WARP);
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = value;
    __syncthreads();
    value = parts[0];
    #pragma unroll
    for (int i = 1; i < THREADS / WARP; ++i) value = Join::of(value, parts[i]);
    return value;
}
"""
