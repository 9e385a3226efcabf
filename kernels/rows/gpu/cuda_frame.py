"""What the CUDA C text of every operation over rows is filled into: words in capitals that are not
defined here stand for what cuda_text.py makes of the operation."""

from __future__ import annotations

HEAD = """
struct __align__(sizeof(T) * EACH) Item { T at[EACH]; };
struct __align__(sizeof(T) * EACH) Numbers { C at[EACH]; };
#define EVERY_ELEMENT _Pragma("unroll") for (int j = 0; j < EACH; ++j)
#define ALL(n, count) _Pragma("unroll") for (int n = 0; n < (count); ++n)

__device__ __forceinline__ Item item(const T *row, Index at) { return *(const Item *)(row + at); }
__device__ __forceinline__ void put(T *row, Index at, const Item &item) {
    *(Item *)(row + at) = item;
}
struct Sizes { Index columns, inner, per, steps; int lane, lanes, sub; };

// A thread's items, one after another.
#if PLANES
struct Place {
    Index column, inside, left;
    const Sizes &s;
    __device__ __forceinline__ Place(const Sizes &s) : s(s) {
        column = s.lane / s.sub;
        inside = s.lane % s.sub * EACH;
        left = s.per;
    }
    __device__ __forceinline__ Index at() const { return column * s.inner + inside; }
    __device__ __forceinline__ bool there() const { return column < s.columns && inside < s.inner; }
    __device__ __forceinline__ bool ends() const { return left == 1; }  // a column
    __device__ __forceinline__ void step() {
        inside += s.sub * EACH;
        if (--left == 0) {
            left = s.per;
            inside = s.lane % s.sub * EACH;
            column += s.lanes / s.sub;
        }
    }
};
#else
struct Place {
    Index column;
    const Sizes &s;
    __device__ __forceinline__ Place(const Sizes &s) : column(s.lane * EACH), s(s) {}
    __device__ __forceinline__ Index at() const { return column; }
    __device__ __forceinline__ bool there() const { return column < s.columns; }
    __device__ __forceinline__ void step() { column += s.lanes * EACH; }
};
#endif
#define REST (BLOCK || PLANES)  // whether a row may have items that are not kept

// Over the threads of a row, to each of them; `parts` are those of another turn each time.
template <int COUNT>
__device__ __forceinline__ void total(C *sums, int lanes, C (*parts)[THREADS / WARP]) {
    ALL(n, COUNT) sums[n] = across_lanes<Sum>(sums[n], BLOCK ? WARP : lanes);
#if BLOCK
    ALL(n, COUNT) if (threadIdx.x % WARP == 0) parts[n][threadIdx.x / WARP] = sums[n];
    __syncthreads();
    ALL(n, COUNT) {
        sums[n] = parts[n][0];
        for (int i = 1; i < blockDim.x / WARP; ++i) sums[n] += parts[n][i];
    }
#endif
}
"""

KERNEL = """
extern "C" __global__ __launch_bounds__(THREADS, RESIDENT) void SYMBOL(
    GIVEN
    const long long rows, const long long parts, const int deep, const int lanes, const int sub,
    const Index columns, const Index inner, const Index per, const Index steps,
    const long long groups
) {
#if BLOCK
    __shared__ C joined[2][SUMS][THREADS / WARP];
    int turn = 0;
    #define PARTS joined[turn ^= 1]
#else
    #define PARTS nullptr
#endif
#if ADDED && !PLANES
    __shared__ C room[THREADS * EACH];
#endif
    const int slot = BLOCK ? 0 : threadIdx.x / lanes, slots = BLOCK ? 1 : THREADS / lanes;
    const Index width = columns * inner;
    Sizes s = {columns, inner, per, steps, (int)threadIdx.x - slot * lanes, lanes, sub};
    CONSTANTS
    #pragma unroll 1
    for (long long part = blockIdx.x; part < parts; part += gridDim.x) {
        ZEROED
        #pragma unroll 1
        for (int n = 0; n < deep; ++n) {
            const long long row = (part * deep + n) * slots + slot;
            const bool there = row < rows;  // all threads of a warp take part in what follows
            const long long start = there ? row * width : 0;
            s.columns = there ? columns : 0;
            POINTERS
            LOADS
            NUMBERS
            WALKS
            WRITTEN
            UPDATE
        }
        ADDING
    }
}
"""

# All items of a row: those that are kept, then others.
PASS = """{
    Place p(s);
    ALL(k, KEPT) {
        if (p.there()) { KEPTHERE }
        AFTER
        p.step();
    }
#if REST
    #pragma unroll 1
    for (Index k = KEPT; k < steps;) {
        BEGIN
        #pragma unroll 1
        for (int m = 0; m < CHUNK && k < steps; ++m, ++k) {
            if (p.there()) { RESTHERE }
            AFTER
            p.step();
        }
        FINISH
    }
#endif
}"""

# What is done to an item that the thread has of each array.
ITEM = """const auto NAME = [&](const Place &p, ITEMS) {
    VECTORS
    BEFORE
    EVERY_ELEMENT {
        VALUES
        RESULTS
    }
    AFTER
};"""

SUMMED = """ALL(m, COUNT) WALK_sums[m] = 0;
PASS
total<COUNT>(WALK_sums, lanes, PARTS);"""

# The sums, and once more where the guess was far off for a row of the warp.
GUESSED = """#pragma unroll 1
for (int attempt = 0; attempt < 2; ++attempt) {
    SUMMED
    if (attempt == 1) break;
    BETTER
    const bool again = there && far_off > C(0);
#if BLOCK
    if (!again) break;
#else
    if (across_lanes<Largest>(again ? C(1) : C(0), WARP) == C(0)) break;
#endif
    if (again) NUMBER = better_guess;
}
#if !BLOCK
__syncwarp();  // all have read the lead that one of them may write over
#endif"""

# The mean of the first elements, or in a short row the first; by pairs, so that it is exact where
# they are equal.
LEAD = """C ARRAY_first[LEAD];
ALL(k, LEAD) ARRAY_first[k] = 0;
if (there) {
    ALL(k, LEAD / EACH) {
        if (k == 0 || width >= LEAD) {
            Item some;
            MADE
            EVERY_ELEMENT ARRAY_first[k * EACH + j] = C(some.at[j]);
        }
    }
}
if (width >= LEAD) {
    ALL(k, LEAD) ARRAY_first[k] *= C(1) / C(LEAD);
    _Pragma("unroll") for (int by = LEAD / 2; by > 0; by /= 2)
        ALL(k, LEAD / 2) if (k < by) ARRAY_first[k] += ARRAY_first[k + by];
}
const C ARRAY_lead = ARRAY_first[0];"""

ROWS_ADDED = {
    "ZEROED": """C own[ADDED][KEPT * EACH];
ALL(m, ADDED) ALL(k, KEPT * EACH) own[m][k] = 0;""",
    "KEPT": """ALL(m, ADDED) EVERY_ELEMENT own[m][k * EACH + j] += terms[m][j];""",
    "REST": """ALL(m, ADDED) {
    C *at = sums + (m * parts + part) * columns + p.at();
    EVERY_ELEMENT at[j] = n ? at[j] + terms[m][j] : terms[m][j];
}""",
    "ADDING": """Place p(s);
ALL(k, KEPT) {
    ALL(m, ADDED) {
        C *values = own[m] + k * EACH;
#if !BLOCK
        const int t = threadIdx.x;
        __syncthreads();
        EVERY_ELEMENT room[j * THREADS + t] = values[j];
        for (int half = THREADS / 2; half >= lanes; half /= 2) {
            __syncthreads();
            if (t < half) EVERY_ELEMENT room[j * THREADS + t] += room[j * THREADS + t + half];
        }
        EVERY_ELEMENT values[j] = room[j * THREADS + t];
#endif
        if (slot == 0 && p.column < columns)
            EVERY_ELEMENT sums[(m * parts + part) * columns + p.column + j] = values[j];
    }
    p.step();
}""",
}

PLANES_ADDED = {
    "BEFORE": """C own[ADDED];
ALL(m, ADDED) own[m] = 0;""",
    "KEPT": """ALL(m, ADDED) EVERY_ELEMENT own[m] += terms[m][j];""",
    "AFTER": """if (p.ends()) {
    if (BLOCK && sub > WARP) total<ADDED>(own, lanes, PARTS);
    else ALL(m, ADDED) own[m] = across_lanes<Sum>(own[m], sub);
    ALL(m, ADDED) {
        if (p.column < s.columns && s.lane % sub == 0)
            sums[(m * rows + row) * columns + p.column] = own[m];
        own[m] = 0;
    }
}""",
}

JOIN = """
extern "C" __global__ __launch_bounds__(JOINED * JOINED) void rows_join(
    const C *sums, C *added, const long long count, const long long period
) {
    __shared__ double room[JOINED][JOINED];
    const int x = threadIdx.x % JOINED, y = threadIdx.x / JOINED;
    const long long column = (long long)blockIdx.x * JOINED + x;
    const C *at = sums + blockIdx.y * count * period + column;
    double sum = 0;
    #pragma unroll 4
    for (long long k = y; k < count; k += JOINED)
        if (column < period) sum += at[k * period];
    room[y][x] = sum;
    for (int half = JOINED / 2; half > 0; half /= 2) {
        __syncthreads();
        if (y < half) room[y][x] += room[y + half][x];
    }
    if (y == 0 && column < period) added[blockIdx.y * period + column] = C(room[0][x]);
}
"""
