"""The CUDA C text of dropout, as plain text so that it can be proven without a GPU."""

from __future__ import annotations

from ...compiling import c_text
from ...compiling.dtypes import C_TYPES
from ...compiling.gpu import cuda_launch
from .. import philox

NAME = "dropout"
VECTORS = {"float16": ("uint2", 1), "float32": ("float4", 1), "float64": ("double2", 2)}
"""What four elements are loaded and stored as, and how many."""
_CONSTANTS = ("M0", "M1", "W0", "W1", "LOW", "HALF")

_TEXT = """
// The bits of four neighbouring elements, by one call of the generator.
__device__ __forceinline__ void random_bits(u64 call, u64 draw, u64 seed, unsigned (&bits)[4]) {
    u64 c0 = call, c1 = call >> HALF, c2 = draw, c3 = draw >> HALF;
    u64 k0 = seed, k1 = seed >> HALF;
    #pragma unroll
    for (int round = 0; round < ROUNDS; ++round) philox_round(c0, c1, c2, c3, k0, k1);
    bits[0] = (unsigned)c0;
    bits[1] = (unsigned)c1;
    bits[2] = (unsigned)c2;
    bits[3] = (unsigned)c3;
}

extern "C" __global__ __launch_bounds__(THREADS)
void dropout(
    const T *x, T *y, long long size, u64 seed, u64 draw, unsigned last, C scale,
    const long long *ahead
) {
    if (ahead) draw += *ahead;
    const bool aligned = ((size_t)x | (size_t)y) % sizeof(Vector) == 0;
    const long long step = (long long)gridDim.x * blockDim.x;
    long long call = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (; 4 * call < size; call += step) {
        const long long first = 4 * call;
        unsigned bits[4];
        random_bits(call, draw, seed, bits);
        if (aligned && first + 4 <= size) {
            Vector vectors[VECTORS];
            T *four = (T *)vectors;
            #pragma unroll
            for (int k = 0; k < VECTORS; ++k) vectors[k] = ((const Vector *)(x + first))[k];
            #pragma unroll
            for (int k = 0; k < 4; ++k)
                four[k] = T(C(four[k]) * (bits[k] <= last ? scale : C(0)));
            #pragma unroll
            for (int k = 0; k < VECTORS; ++k) ((Vector *)(y + first))[k] = vectors[k];
        } else {
            #pragma unroll
            for (int k = 0; k < 4; ++k)
                if (first + k < size)
                    y[first + k] = T(C(x[first + k]) * (bits[k] <= last ? scale : C(0)));
        }
    }
}
"""


def source(dtype: str) -> str:
    """The kernel's whole text for arrays of that dtype."""
    compute = "double" if dtype == "float64" else "float"
    constants = "".join(
        f"#define {name} {int(getattr(philox, name)):#x}ull\n" for name in _CONSTANTS
    )
    vector, count = VECTORS[dtype]
    return (
        f"typedef {C_TYPES[dtype]} T;\ntypedef {compute} C;\ntypedef unsigned long long u64;\n"
        f"typedef {vector} Vector;\n#define VECTORS {count}\n"
        f"#define THREADS {cuda_launch.THREADS}\n#define ROUNDS {philox.ROUNDS}\n{constants}"
        f"{c_text.device_function(philox.philox_round, 'u64')}{_TEXT}"
    )
