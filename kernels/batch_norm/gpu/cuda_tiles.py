"""How a block goes through its channels' values, and joins what its threads have: CUDA C text.

Memory is (outer, channel, inner). Where runs of a channel are long (RUNS), a block takes a part of
the runs of one channel. Where they are short, memory is rows of `channels * inner` columns, and a
block takes a part of the rows of a tile: of so many neighbouring channels that a row of it is whole
items. An item is EACH elements, which are read and written at once: sixteen bytes, or as many of
them as memory and runs are multiples of. A thread takes every so many-th item of its block: always
of the same columns, so that their channels are looked up once.

The grid is (blocks side by side, parts), and a part is `share` items of a channel, or rows of a
tile. Threads join in the same order at every run, and so do parts.
"""

from __future__ import annotations

from ...compiling.gpu.cuda_reductions import WARPS

_SHAPE = "const Index outer, const Index channels, const Index inner, const Index share"
SHAPE = f"{_SHAPE}, const int tile"
GIVEN = "outer, channels, inner, share, tile"

# `at` is the place of a thread's next item, `left` how many there are from it on, `by` how many of
# them one step of the thread passes.
_ITEMS = """
struct __align__(sizeof(T) * EACH) Item { T at[EACH]; };

__device__ __forceinline__ Item item(const T *array, Index at) {
    return *(const Item *)(array + at);
}
__device__ __forceinline__ void put(T *array, Index at, const Item &values) {
    *(Item *)(array + at) = values;
}
"""

_RUNS = """
#define RUNS 1
#define CHANNELS 1  // of a block
#define KINDS 1     // channels that a thread's items have at a time
#define ROOM (THREADS / WARP)
struct Walk {
    Index at, left, place, run, jump, hop, carry;
    static const int by = THREADS;

    __device__ __forceinline__ Walk(SHAPE) {
        run = inner / EACH;
        const Index all = outer * run, start = blockIdx.y * share + threadIdx.x;
        const Index end = all - blockIdx.y * share < share ? all : (blockIdx.y + 1) * share;
        left = end - start;
        const Index n = start / run, down = THREADS / run;
        place = start - n * run;
        hop = THREADS - down * run;
        jump = down * channels * inner + hop * EACH;
        carry = (channels - 1) * inner;
        at = (n * channels + blockIdx.x) * inner + place * EACH;
    }
    __device__ __forceinline__ void step() {
        at += jump;
        place += hop;
        if (place >= run) {
            place -= run;
            at += carry;
        }
    }
    __device__ __forceinline__ int channel(int j) const { return 0; }
    __device__ __forceinline__ int rows() const { return THREADS; }
};
// Values of a channel in a part of its own.
__device__ __forceinline__ Index values_of(Index part, SHAPE) {
    const Index all = outer * (inner / EACH), before = part * share;
    return (all - before < share ? all - before : share) * EACH;
}
"""

_COLUMNS = """
#define RUNS 0
#define CHANNELS MOST_CHANNELS
#define KINDS EACH
#define ROOM (THREADS * EACH)
struct Walk {
    Index at, left, jump;
    int by, first, length;  // rows at once; the thread's first column in the tile; a run's

    __device__ __forceinline__ Walk(SHAPE) {
        const int width = tile * (int)inner, lanes = width / EACH, row = threadIdx.x / lanes;
        const Index columns = channels * inner;
        by = THREADS / lanes;
        length = inner;
        first = (threadIdx.x - row * lanes) * EACH;
        const Index column = (Index)blockIdx.x * width + first, start = blockIdx.y * share + row;
        const Index end = outer - blockIdx.y * share < share ? outer : (blockIdx.y + 1) * share;
        left = row < by && column < columns ? end - start : 0;
        at = start * columns + column;
        jump = by * columns;
    }
    __device__ __forceinline__ void step() { at += jump; }
    __device__ __forceinline__ int channel(int j) const { return (first + j) / length; }
    __device__ __forceinline__ int rows() const { return by; }
};
__device__ __forceinline__ Index values_of(Index part, SHAPE) {
    const Index before = part * share;
    return (outer - before < share ? outer - before : share) * inner;
}
"""

# The j-th element of an item belongs to the KIND(j)-th of the channels that a thread has at a time.
# walk() calls body(places, there) for COUNT items that are under way at once; those are there()
# that the thread has.
_WALK = """
#define KIND(j) (KINDS == 1 ? 0 : (j))
#define EVERY_ELEMENT _Pragma("unroll") for (int j = 0; j < EACH; ++j)
#define EVERY_KIND _Pragma("unroll") for (int j = 0; j < KINDS; ++j)

template <int COUNT, class Body> __device__ __forceinline__ void walk(Walk &w, Body body) {
    Index places[COUNT];
    #pragma unroll 1
    for (; w.left > (COUNT - 1) * w.by; w.left -= COUNT * w.by) {
        #pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            places[i] = w.at;
            w.step();
        }
        body(places, [](int) { return true; });
    }
    if (w.left > 0) {
        #pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            places[i] = w.at;
            w.step();
        }
        const Index left = w.left, by = w.by;
        body(places, [=](int i) { return i * by < left; });
    }
}
"""

# total(): the sum over threads whose channel is the same, `threadIdx.x % tile`, to each of them.
# joined(): the sum over a block of what threads have for each element of their items, likewise.
# `room` is a block's, and is used again by each.
_JOINED = """
__device__ __forceinline__ C total(C value, C *room, int tile) {
    __syncthreads();
#if RUNS
    return across_block<Sum>(value, room);
#else
    room[threadIdx.x] = value;
    for (int rows = THREADS / tile, half; rows > 1; rows = half) {
        half = (rows + 1) / 2;
        __syncthreads();
        if (threadIdx.x < (rows - half) * tile)
            room[threadIdx.x] += room[threadIdx.x + half * tile];
    }
    __syncthreads();
    return room[threadIdx.x % tile];
#endif
}
__device__ __forceinline__ C joined(const C *values, C *room, int tile, const Walk &w) {
    C sum = 0;
#if RUNS
    EVERY_ELEMENT sum += values[j];
#else
    __syncthreads();
    EVERY_ELEMENT room[threadIdx.x * EACH + j] = values[j];
    __syncthreads();
    const int k = threadIdx.x % tile, groups = THREADS / tile, width = tile * w.length;
    if (threadIdx.x < groups * tile)
        for (int row = threadIdx.x / tile; row < w.by; row += groups)
            for (int i = 0; i < w.length; ++i) sum += room[row * width + k * w.length + i];
#endif
    return total(sum, room, tile);
}
"""


def tiles(runs: bool) -> str:
    """The text of all this; it counts on T, C, Index, THREADS, EACH and the formulas."""
    text = WARPS + _ITEMS + (_RUNS if runs else _COLUMNS) + _WALK + _JOINED
    return text.replace("SHAPE", SHAPE)
