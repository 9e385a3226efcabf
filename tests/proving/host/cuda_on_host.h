// CUDA C on the CPU: what g++ needs in front of a RawKernel's text, and the launch behind it.
//
// Each thread of a block is a fiber that runs until it waits for others or leaves; the
// blocks run one after another. hostcuda_raw.py turns the declarations of __shared__ memory into
// calls of `shared_memory` and changes nothing else in the text.
//
// ThreadSanitizer takes all threads for unordered but where CUDA orders them: at __syncthreads and
// __syncwarp; not at shuffles and votes, and never from block to block. An atomic publishes what
// its thread, or one ordered before it, wrote, if its thread has passed a __threadfence.
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fiber.h"

#define __CUDA_ARCH__ 750
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

// --- types and arithmetic ------------------------------------------------------------------------
#define VECTORS(T, name)                                                                           \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                             \
    struct alignas(16) name##4 { T x, y, z, w; };                                                  \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                     \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
VECTORS(float, float) VECTORS(double, double) VECTORS(int, int) VECTORS(unsigned, uint)
typedef struct uint3 { unsigned x, y, z; } dim3;

struct float16 {  // what CuPy's class of that name offers
    _Float16 data;
    float16() = default;
    float16(float x) : data(x) {}
    operator float() const { return data; }
};
typedef float16 half, __half;
inline float __half2float(half x) { return x; }
inline half __float2half(float x) { return x; }
inline half __float2half_rn(float x) { return x; }
struct bfloat16 {  // likewise; rounded to the nearest, halves to even
    uint16_t data;
    bfloat16() = default;
    bfloat16(float x) {
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        data = x == x ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : 0x7fff;
    }
    operator float() const {
        const uint32_t bits = (uint32_t)data << 16;
        float x;
        memcpy(&x, &bits, sizeof x);
        return x;
    }
};

// As CUDA overloads them; <cmath> does too, in twice the time.
#define FLOATING(name, parameters, ...)                                                            \
    inline float name(parameters(float)) { return __builtin_##name##f(__VA_ARGS__); }              \
    inline float name##f(parameters(float)) { return __builtin_##name##f(__VA_ARGS__); }           \
    inline double name(parameters(double)) { return __builtin_##name(__VA_ARGS__); }
#define ONE(T) T x
#define TWO(T) T x, T y
#define THREE(T) T x, T y, T z
FLOATING(sqrt, ONE, x) FLOATING(fabs, ONE, x) FLOATING(exp, ONE, x) FLOATING(log, ONE, x)
FLOATING(tanh, ONE, x) FLOATING(floor, ONE, x) FLOATING(ceil, ONE, x) FLOATING(rint, ONE, x)
FLOATING(log1p, ONE, x) FLOATING(pow, TWO, x, y) FLOATING(fmin, TWO, x, y) FLOATING(fmax, TWO, x, y)
FLOATING(fma, THREE, x, y, z)
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return (float)rsqrt((double)x); }
inline float rsqrtf(float x) { return rsqrt(x); }
#define MIN_MAX(T, less, more)                                                                     \
    inline T min(T x, T y) { return less; }                                                        \
    inline T max(T x, T y) { return more; }
#define MIN_MAX_INTEGER(T) MIN_MAX(T, y < x ? y : x, x < y ? y : x)
MIN_MAX(float, fmin(x, y), fmax(x, y)) MIN_MAX(double, fmin(x, y), fmax(x, y))  // NaN loses
MIN_MAX_INTEGER(int) MIN_MAX_INTEGER(long) MIN_MAX_INTEGER(long long)
MIN_MAX_INTEGER(unsigned) MIN_MAX_INTEGER(unsigned long) MIN_MAX_INTEGER(unsigned long long)
template <typename T> bool isnan(T x) { return __builtin_isnan(x); }
template <typename T> bool isinf(T x) { return __builtin_isinf(x); }
template <typename T> bool isfinite(T x) { return __builtin_isfinite(x); }
template <typename T> T __ldg(const T *address) { return *address; }
inline bool __isGlobal(const void *) { return true; }
#define __builtin_assume(what) ((void)0)
inline int __popc(unsigned x) { return __builtin_popcount(x); }
#define SAME_BITS(name, From, To)                                                                  \
    inline To name(From x) {                                                                       \
        To y;                                                                                      \
        memcpy(&y, &x, sizeof y);                                                                  \
        return y;                                                                                  \
    }
SAME_BITS(__float_as_uint, float, unsigned) SAME_BITS(__uint_as_float, unsigned, float)

// --- fibers and memory ---------------------------------------------------------------------------
#define QUIET __attribute__((no_sanitize("address", "thread", "undefined")))  // not looked into
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
extern "C" void AnnotateIgnoreWritesBegin(const char *file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char *file, int line);
#else
inline void *__tsan_get_current_fiber() { return nullptr; }
inline void *__tsan_create_fiber(unsigned) { return nullptr; }
inline void __tsan_destroy_fiber(void *) {}
inline void __tsan_set_fiber_name(void *, const char *) {}
inline void __tsan_switch_to_fiber(void *, unsigned) {}
inline void __tsan_acquire(void *) {}
inline void __tsan_release(void *) {}
inline void AnnotateIgnoreWritesBegin(const char *, int) {}
inline void AnnotateIgnoreWritesEnd(const char *, int) {}
#endif

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

namespace onepass {
struct Call {
    const char *name;
    bool block, orders;  // waits for the whole block, not for lanes of a warp; orders memory
};
struct Thread {
    uint3 index;
    unsigned rank;  // its place in the block; rank / 32 is its warp
    Fiber place;
    void *fiber;        // what ThreadSanitizer knows it by
    bool left, fenced;  // it has left the kernel; it has passed a __threadfence
    const Call *call;   // where it waits, null while it can run
    int line;
    unsigned mask, source;  // the lanes it waits for; the lane whose value it takes
    uint64_t sent, received;
    unsigned vote, ballot;
};
struct Argument {  // becomes what the kernel declares
    const void *value;
    template <typename T> QUIET operator T() const { return *static_cast<const T *>(value); }
};

static Thread *threads, *running;
static unsigned size;  // threads in a block
static Fiber scheduler;
static void *host, *done;  // for ThreadSanitizer: who launched; the end of all threads
static void (*body)(const Argument *);
static const Argument *arguments;
static struct { const void *key; void *memory; } shared[64];
static unsigned shared_count;
static size_t shared_bytes, shared_limit;
static char failure[500];
// A sanitizer's report is written on it too; stacks that begin in one place of the cache are slow.
static const size_t STACK_BYTES = (128 << 10) + 4096 + 192;
static void *lent;  // stacks for a block of any size, from whoever launches; null if there are none

QUIET static void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    vsnprintf(failure, sizeof failure, format, values);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    va_end(values);
}

struct Name {  // what messages call a thread
    char text[100];
    QUIET Name(const Thread &one) {
        snprintf(text, sizeof text, "thread (%u,%u,%u) of block (%u,%u,%u)", one.index.x,
                 one.index.y, one.index.z, blockIdx.x, blockIdx.y, blockIdx.z);
    }
};

// New memory of NaN bits; no access to what was there before is held against those to come.
QUIET static void *renew(void *old, size_t bytes, bool poison = true) {
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    free(old);
    void *memory = malloc(bytes);
    if (poison) memset(memory, 0xff, bytes);
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    return memory;
}

QUIET static void switch_to(void *fiber) { __tsan_switch_to_fiber(fiber, 1); }  // 1: unordered

QUIET static void pause() {
    switch_to(host);
    change(running->place, scheduler);
}

QUIET static void resume(Thread &thread) {
    running = &thread;
    threadIdx = thread.index;
    switch_to(thread.fiber);
    change(scheduler, thread.place);
}

QUIET static void enter() {
    body(arguments);
    running->left = true;
    __tsan_release(done);
    pause();
}

// The block's memory of one declaration; that of `extern __shared__` has no key.
QUIET static void *shared_memory(const void *key, size_t bytes) {
    for (unsigned i = 0; i < shared_count; ++i)
        if (shared[i].key == key) return shared[i].memory;
    shared_bytes += bytes;
    if (shared_bytes > shared_limit || shared_count == 64) {
        fail("%zu bytes of shared memory in %u declarations; at most %zu in 64 can be had",
             shared_bytes, shared_count + 1, shared_limit);
        if (key) pause();  // for good
        return nullptr;
    }
    shared[shared_count] = {key, renew(nullptr, bytes)};
    return shared[shared_count++].memory;
}

// --- waiting for others --------------------------------------------------------------------------
QUIET static bool needs(const Thread &one, const Thread &other) {
    return one.call->block || (one.rank / 32 == other.rank / 32 && one.mask >> other.rank % 32 & 1);
}

QUIET static bool together(const Thread &one, const Thread &other) {
    return other.call == one.call && other.line == one.line && other.mask == one.mask;
}

// Lets `first` and all that it waits for go on, if they wait where it does.
QUIET static bool release(Thread &first) {
    if (!first.call) return false;
    const unsigned warp = first.rank / 32 * 32;
    const unsigned speaker = first.call->block ? 0 : warp + __builtin_ctz(first.mask);
    if (first.rank != speaker) return false;  // one of a group speaks for it
    const unsigned begin = first.call->block ? 0 : warp;
    const unsigned end = first.call->block || warp + 32 > size ? size : warp + 32;
    for (unsigned i = begin; i < end; ++i)
        if (needs(first, threads[i]) && !together(first, threads[i])) return false;
    const Thread group = first;  // as it waits, while `first` is changed
    void *meeting = renew(nullptr, 8);
    unsigned ballot = 0;
    for (unsigned i = begin; i < end; ++i)
        if (Thread &one = threads[i]; needs(group, one)) {
            ballot |= one.vote << i % 32;
            const unsigned from = warp + one.source;
            const bool there = from < size && needs(group, threads[from]);
            one.received = there ? threads[from].sent : ~0ull;  // nobody's value is NaN, or -1
            switch_to(one.fiber);
            if (group.call->orders) __tsan_release(meeting);
        }
    for (unsigned i = begin; i < end; ++i)
        if (Thread &one = threads[i]; needs(group, one)) {
            one.ballot = ballot;
            one.call = nullptr;
            switch_to(one.fiber);
            if (group.call->orders) __tsan_acquire(meeting);
        }
    switch_to(host);
    free(meeting);
    return true;
}

QUIET static void wait(const Call &call, int line, unsigned mask) {
    Thread &me = *running;
    me.call = &call, me.line = line, me.mask = mask;
    if (!needs(me, me)) fail("%s at line %d is not for the lane that calls it", call.name, line);
    pause();
}

template <typename T>
QUIET T exchange(const Call &call, int line, unsigned mask, T value, unsigned source) {
    static_assert(sizeof value <= sizeof running->sent, "a shuffle moves at most 8 bytes");
    memcpy(&running->sent, &value, sizeof value);
    running->source = source;
    wait(call, line, mask);
    memcpy(&value, &running->received, sizeof value);
    return value;
}

QUIET static unsigned vote(const Call &call, int line, unsigned mask, bool value) {
    running->vote = value;
    wait(call, line, mask);
    return running->ballot;
}

QUIET static int lane() { return running->rank % 32; }
QUIET static void fence() { running->fenced = true; }
QUIET static bool fenced() { return running->fenced; }

// --- the launch ----------------------------------------------------------------------------------
QUIET static void report_deadlock() {
    for (unsigned i = 0; i < size; ++i)
        for (unsigned k = 0; threads[i].call && k < size; ++k) {
            const Thread &one = threads[i], &other = threads[k];
            if (!needs(one, other) || together(one, other)) continue;
            char where[100] = "has left";
            if (other.call)
                snprintf(where, sizeof where, "waits in %s at line %d with mask %#x",
                         other.call->name, other.line, other.mask);
            fail("deadlock: %s waits in %s at line %d with mask %#x, and %s %s", Name(one).text,
                 one.call->name, one.line, one.mask, Name(other).text, where);
            return;
        }
}

// Order of blocks and of threads: 0 forward, negative backward, else shuffled from that state.
QUIET static void arrange(unsigned *places, unsigned count, int64_t &order) {
    for (unsigned i = 0; i < count; ++i) places[i] = order < 0 ? count - 1 - i : i;
    for (unsigned i = count; order > 0 && i > 1; --i) {
        order = order * 48271 % 2147483647;
        const unsigned k = order % i, last = places[i - 1];
        places[i - 1] = places[k], places[k] = last;
    }
}

// A new thread that gets the number of an old one is the same thread to ThreadSanitizer. To see
// races between blocks, the fibers of a block must outlive the creation of the next block's.
static void *previous[1024];
QUIET static void destroy_previous() {
    for (void *&fiber : previous) {
        if (fiber) __tsan_destroy_fiber(fiber);
        fiber = nullptr;
    }
}

QUIET static void run_block(unsigned block, char *stacks, unsigned *places, int64_t &order) {
    blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
    for (unsigned i = 0; i < size; ++i) {
        Thread &one = threads[i];
        memset(&one, 0, sizeof one);
        one.rank = i;
        one.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        begin(one.place, stacks + i * STACK_BYTES, STACK_BYTES, enter);
        one.fiber = __tsan_create_fiber(0);
        if (one.fiber) __tsan_set_fiber_name(one.fiber, Name(one).text);
    }
    destroy_previous();
    for (unsigned i = 0; i < size; ++i) previous[i] = threads[i].fiber;
    for (bool progress = true; progress && !*failure;) {
        progress = false;
        arrange(places, size, order);
        for (unsigned i = 0; i < size && !*failure; ++i)
            if (Thread &one = threads[places[i]]; !one.left && !one.call) resume(one);
        for (unsigned i = 0; i < size && !*failure; ++i) progress |= release(threads[i]);
    }
    if (!*failure) report_deadlock();
}

// Returns what went wrong, or "". `shape` is the grid's three sizes, then the block's.
QUIET static const char *launch(void (*kernel)(const Argument *), const Argument *values,
                                const unsigned *shape, size_t dynamic, size_t limit,
                                int64_t order) {
#ifdef FLUSH
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040);  // subnormals are zero, in the fibers too
#endif
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    size = blockDim.x * blockDim.y * blockDim.z;
    body = kernel, arguments = values, shared_limit = limit, *failure = 0;
    host = __tsan_get_current_fiber(), done = renew(nullptr, 8);
    const unsigned count = gridDim.x * gridDim.y * gridDim.z;
    void *stacks = lent;
    unsigned *blocks = (unsigned *)malloc((count + size) * sizeof(unsigned));
    threads = (Thread *)malloc(size * sizeof(Thread));
    arrange(blocks, count, order);
    for (unsigned i = 0; i < count && !*failure; ++i) {
        if (!stacks || WATCHED) stacks = renew(stacks, size * STACK_BYTES, false);
        shared_bytes = shared_count = 0;
        shared_memory(nullptr, dynamic);
        run_block(blocks[i], (char *)stacks, blocks + count, order);
        while (shared_count) free(renew(shared[--shared_count].memory, 0));
    }
    destroy_previous();
    __tsan_acquire(done);
    free(done), free(stacks == lent ? nullptr : stacks), free(threads), free(blocks);
#ifdef FLUSH
    __builtin_ia32_ldmxcsr(before);
#endif
    return failure;
}
}  // namespace onepass

// --- what a kernel calls -------------------------------------------------------------------------
#define LINE int line = __builtin_LINE()  // of the call
inline void __syncthreads(LINE) {
    static const onepass::Call call{"__syncthreads", true, true};
    onepass::wait(call, line, ~0u);
}
inline void __syncwarp(unsigned mask = ~0u, LINE) {
    static const onepass::Call call{"__syncwarp", false, true};
    onepass::wait(call, line, mask);
}

#define VOTE(T, name, value, result)                                                               \
    inline T name(unsigned mask, bool mine, LINE) {                                                \
        static const onepass::Call call{#name, false, false};                                      \
        const unsigned ballot = onepass::vote(call, line, mask, value);                            \
        return result;                                                                             \
    }
VOTE(unsigned, __ballot_sync, mine, ballot)
VOTE(int, __any_sync, mine, ballot != 0)
VOTE(int, __all_sync, !mine, ballot == 0)

// The lane to read from, in a segment of `width` lanes that begins at `start`.
#define SHUFFLE(name, parameter, from)                                                             \
    template <typename T> T name(unsigned mask, T value, parameter, int width = 32, LINE) {        \
        static const onepass::Call call{#name, false, false};                                      \
        const int lane = onepass::lane(), start = lane & -width;                                   \
        return onepass::exchange(call, line, mask, value, from);                                   \
    }
SHUFFLE(__shfl_sync, int there, start + (there & (width - 1)))
SHUFFLE(__shfl_up_sync, unsigned by, lane - (int)by < start ? lane : lane - (int)by)
SHUFFLE(__shfl_down_sync, unsigned by, lane + (int)by < start + width ? lane + (int)by : lane)
SHUFFLE(__shfl_xor_sync, int bits, (lane ^ bits) < start + width ? lane ^ bits : lane)

inline void __threadfence() { onepass::fence(); }
inline void __threadfence_block() {}  // a block's threads are ordered by its barriers alone
#define ATOMIC_ADD(T)                                                                              \
    inline T atomicAdd(T *address, T value) {                                                      \
        T old, sum;                                                                                \
        __atomic_load(address, &old, __ATOMIC_RELAXED);                                            \
        do sum = old + value;                                                                      \
        while (!(onepass::fenced() ? REPLACE(__ATOMIC_ACQ_REL) : REPLACE(__ATOMIC_ACQUIRE)));      \
        return old;                                                                                \
    }
#define REPLACE(order)                                                                             \
    __atomic_compare_exchange(address, &old, &sum, false, order, __ATOMIC_RELAXED)
ATOMIC_ADD(float) ATOMIC_ADD(double)
ATOMIC_ADD(int) ATOMIC_ADD(unsigned) ATOMIC_ADD(unsigned long long)

#undef LINE
#undef QUIET
