"""The formulas of state formats in CUDA C, and what they and kernels of theirs are made of."""

from __future__ import annotations

from functools import cache

from ...compiling import c_text
from .functions import in_order

_PRIMITIVES = """
typedef unsigned int Word;
__device__ __forceinline__ Word onepass_bits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float onepass_number(Word w) { return __uint_as_float(w); }
__device__ __forceinline__ float onepass_real(Word w) { return (float)(int)w; }
__device__ __forceinline__ Word onepass_whole(float x) { return (Word)(int)x; }
__device__ __forceinline__ Word onepass_plus(Word a, Word b) { return a + b; }
__device__ __forceinline__ Word onepass_minus(Word a, Word b) { return a - b; }
__device__ __forceinline__ Word onepass_times(Word a, Word b) { return a * b; }
__device__ __forceinline__ Word onepass_both(Word a, Word b) { return a & b; }
__device__ __forceinline__ Word onepass_either(Word a, Word b) { return a | b; }
__device__ __forceinline__ Word onepass_exclusive(Word a, Word b) { return a ^ b; }
__device__ __forceinline__ Word onepass_left(Word a, Word by) { return a << by; }
__device__ __forceinline__ Word onepass_right(Word a, Word by) { return a >> by; }
__device__ __forceinline__ Word onepass_smaller(Word a, Word b) { return min(a, b); }
__device__ __forceinline__ Word onepass_larger(Word a, Word b) { return max(a, b); }
__device__ __forceinline__ Word onepass_unless_nan(float x, Word a, Word b) {
    return x == x ? a : b;
}
// What an array holds, with its sign if it has one.
template <typename T> __device__ __forceinline__ Word onepass_word(T stored) {
    return (Word)(int)stored;
}
"""

PACKS = """
// Neighbours in registers. Those behind an array's end are zero, and not written.
template <typename T> struct __align__(sizeof(T) == 1 ? 8 : 16) Pack {
    T at[EACH];
    __device__ __forceinline__ T &operator[](int i) { return at[i]; }
};
template <typename T>
__device__ __forceinline__ Pack<T> packed(const T *array, int count, bool whole) {
    if (whole) return *(const Pack<T> *)array;
    Pack<T> found;
    #pragma unroll
    for (int i = 0; i < EACH; ++i) found[i] = i < count ? array[i] : T(0);
    return found;
}
template <typename T>
__device__ __forceinline__ void unpack(Pack<T> pack, T *array, int count, bool whole) {
    if (whole) {
        *(Pack<T> *)array = pack;
        return;
    }
    #pragma unroll
    for (int i = 0; i < EACH; ++i) if (i < count) array[i] = pack[i];
}
"""

LARGEST = """
// The largest word of those of a group of neighbouring threads, to all of them: of one warp, or of
// several, whose `parts` are in shared memory.
#define GROUP (BLOCK / EACH)
#define WARP 32
__device__ __forceinline__ Word across_lanes(Word most) {
    #pragma unroll
    for (int by = (GROUP < WARP ? GROUP : WARP) / 2; by > 0; by /= 2)
        most = max(most, __shfl_xor_sync(0xffffffffu, most, by));
    return most;
}
__device__ __forceinline__ Word across_warps(const Word *parts) {
    Word most = 0;
    #pragma unroll
    for (int k = 0; k < GROUP / WARP; ++k)
        most = max(most, parts[threadIdx.x / GROUP * (GROUP / WARP) + k]);
    return most;
}
"""


@cache
def functions() -> str:
    """What statements of a layout call."""
    return _PRIMITIVES + "".join(map(c_text.typed_function, in_order()))
