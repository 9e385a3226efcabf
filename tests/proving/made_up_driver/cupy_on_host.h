// What CuPy's generated text needs beside cuda_on_host.h, and how its kernels are launched.
#pragma once
#include <initializer_list>
#include <utility>
#include "cuda_on_host.h"

#define __trap() onepass::stop("__trap()")
#define assert(condition) ((condition) ? (void)0 : onepass::stop("assert(" #condition ")"))

// --- arithmetic ----------------------------------------------------------------------------------
FLOATING(expm1, ONE, x) FLOATING(exp2, ONE, x) FLOATING(log2, ONE, x)
FLOATING(log10, ONE, x) FLOATING(trunc, ONE, x) FLOATING(round, ONE, x) FLOATING(cbrt, ONE, x)
FLOATING(sin, ONE, x) FLOATING(cos, ONE, x) FLOATING(tan, ONE, x) FLOATING(sinh, ONE, x)
FLOATING(cosh, ONE, x) FLOATING(erf, ONE, x) FLOATING(copysign, TWO, x, y)
FLOATING(fmod, TWO, x, y) FLOATING(hypot, TWO, x, y) FLOATING(nextafter, TWO, x, y)
FLOATING(atan2, TWO, x, y)
inline long long clock64() { return __builtin_ia32_rdtsc(); }
inline bool signbit(float x) { return __builtin_signbit(x); }
inline bool signbit(double x) { return __builtin_signbit(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline bool isnan(float16 x) { return __builtin_isnan((float)x); }
inline bool isinf(float16 x) { return __builtin_isinf((float)x); }
inline bool isfinite(float16 x) { return __builtin_isfinite((float)x); }

SAME_BITS(__int_as_float, int, float) SAME_BITS(__float_as_int, float, int)
SAME_BITS(__longlong_as_double, long long, double) SAME_BITS(__double_as_longlong, double, long long)
template <typename T> struct complex { T x, y; };  // named in texts, but no kernel's here
template <typename T> T norm(complex<T> z) { return z.x * z.x + z.y * z.y; }

// --- launches ------------------------------------------------------------------------------------
namespace onepass {
// What the thread that runs calls when it can't go on: the driver takes the signal.
[[noreturn]] inline void stop(const char *what) {
    fail("%s", what);
    __builtin_trap();
}

template <typename... P, size_t... I>
void call(void (*kernel)(P...), const Argument *values, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<P> *)values[I].value...);
}
template <typename... P> void call(void (*kernel)(P...), const Argument *values) {
    call(kernel, values, std::index_sequence_for<P...>());
}

template <typename... P> int sizes_of(void (*)(P...), size_t *sizes) {
    const size_t all[] = {sizeof(P)..., 0};
    memcpy(sizes, all, sizeof...(P) * sizeof *all);
    return sizeof...(P);
}

// `launch` for kernels whose threads never wait for each other: they run one after another.
static const char *launch_flat(void (*kernel)(const Argument *), const Argument *values,
                               const unsigned *shape, size_t, size_t, long long) {
    static Thread one;
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    running = &one, *failure = 0;
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < blockDim.z; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x)
                            kernel(values);
    return failure;
}

// `launch_flat` for kernels whose threads share out all elements, however many threads there are.
static const char *launch_alone(void (*kernel)(const Argument *), const Argument *values,
                                const unsigned *, size_t, size_t, long long) {
    static const unsigned one[] = {1, 1, 1, 1, 1, 1};
    return launch_flat(kernel, values, one, 0, 0, 0);
}
}  // namespace onepass

// Where a kernel was that a signal ended, and why if it knows.
extern "C" __attribute__((visibility("default"))) const char *onepass_where() {
    static char text[600];
    snprintf(text, sizeof text, "thread (%u,%u,%u) of block (%u,%u,%u)%s%s", threadIdx.x,
             threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y, blockIdx.z,
             *onepass::failure ? ": " : "", onepass::failure);
    return text;
}

// Stacks for the threads of any block; without any, how many bytes that takes.
extern "C" __attribute__((visibility("default"))) size_t onepass_lend(void *stacks) {
    onepass::lent = stacks;
    return 1024 * onepass::STACK_BYTES;
}

#define MADE_UP_KERNEL(name, launched)                                                             \
    extern "C" __attribute__((visibility("default"))) int onepass_sizes_##name(size_t *sizes) {    \
        return onepass::sizes_of(name, sizes);                                                     \
    }                                                                                              \
    extern "C" __attribute__((visibility("default"))) const char *onepass_launch_##name(           \
        const onepass::Argument *values, const unsigned *shape, size_t dynamic, size_t limit,      \
        long long order) {                                                                         \
        const auto body = [](const onepass::Argument *each) { onepass::call(name, each); };        \
        return onepass::launched(body, values, shape, dynamic, limit, order);                      \
    }
