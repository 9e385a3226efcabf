"""The host runs CUDA C kernels as a GPU would: right ones pass in every order of threads and are
clean under the sanitizers, and of each kind of mistake one is planted and seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from proving.host import elementwise as hostcuda
from proving.host.raw import MAX_SHARED, ORDERS, Call, LaunchError, Parameter, RawKernel
from proving.host.raw import sanitize as run_sanitized
from proving.host.sanitized import missing

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)


def sanitize(kind, calls):
    if reason := missing(kind):
        pytest.skip(reason)
    return run_sanitized(kind, calls)


def whole(size, dtype="float32"):
    """Random whole numbers, so that sums are exact in every order."""
    return np.random.default_rng(size).integers(-9, 10, size).astype(dtype)


# --- right kernels: each takes an array and writes the next, which is compared --------------------
TREE = """
extern "C" __global__ void tree(const float *x, float *y, int n) {
    __shared__ float s[64];
    const int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    s[t] = i < n ? x[i] : 0.0f;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) s[t] += s[t + half];
        __syncthreads();  // each round
    }
    if (t == 0) atomicAdd(y, s[0]);
}
"""


def tree(edit=str):
    x = whole(200)
    kernel = RawKernel(edit(TREE), "tree")
    return Call(kernel, (4,), (64,), (x, np.zeros(1, "float32"), np.int32(x.size))), [x.sum()]


WARP_TREE = """
extern "C" __global__ void warp_tree(const double *x, double *y) {
    __shared__ volatile double s[64];
    const int t = threadIdx.x, start = t - t % 32;
    s[t] = x[t];
    __syncwarp();  // first
    for (int half = 16; half > 0; half /= 2) {
        const double other = s[start + (t + half) % 32];
        __syncwarp();  // all have read
        s[t] += other;
        __syncwarp();  // all have written
    }
    y[t] = s[start + 31 - t % 32];
}
"""


def warp_tree(edit=str):
    x = whole(64, "float64")
    call = Call(RawKernel(edit(WARP_TREE), "warp_tree"), (1,), (64,), (x, np.zeros(64)))
    return call, x.reshape(2, 32).sum(1).repeat(32)


SHUFFLES = """
template <typename T> __device__ __forceinline__ T warp_sum(T value) {
    __shared__ T unused;  // of each instance its own
    for (int by = 16; by > 0; by /= 2) value += __shfl_down_sync(0xffffffffu, value, by);
    return value;
}
extern "C" __global__ void __launch_bounds__(128) shuffles(const float *__restrict__ x, float *y) {
    __shared__ float sums[4];
    const int t = threadIdx.x, lane = t % 32, warp = t / 32;
    const float sum = warp_sum(x[t]);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    if (warp == 0) {
        const float all = warp_sum(lane < 4 ? sums[lane] : 0.0f);
        if (lane == 0) y[0] = all;
    }
}
"""


def shuffles(edit=str):
    x = whole(128)
    kernel = RawKernel(edit(SHUFFLES), "shuffles")
    return Call(kernel, (1,), (128,), (x, np.zeros(1, "float32"))), [x.sum()]


HISTOGRAM = """
extern "C" __global__ void histogram(const unsigned char *x, unsigned long long *y, size_t n) {
    __shared__ unsigned counts[10], unused;
    if (threadIdx.x < 10) counts[threadIdx.x] = 0;
    __syncthreads();  // zero
    const size_t step = (size_t)blockDim.x * gridDim.x;
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        atomicAdd(&counts[x[i]], 1u);
    __syncthreads();
    if (threadIdx.x < 10) atomicAdd(&y[threadIdx.x], (unsigned long long)counts[threadIdx.x]);
}
"""


def histogram(edit=str):
    x = np.abs(whole(500, "int8")).view("uint8")
    args = x, np.zeros(10, "uint64"), np.uint64(x.size)
    return Call(RawKernel(edit(HISTOGRAM), "histogram"), (3,), (32,), args), np.bincount(x)


TRANSPOSE = """
#include <cuda_fp16.h>
#define SIDE 8
typedef __half T;
extern "C" __global__ void transpose(const T *x, T *y, int rows, int columns) {
    __shared__ T tile[SIDE][SIDE + 1];
    int row = blockIdx.y * SIDE + threadIdx.y, column = blockIdx.x * SIDE + threadIdx.x;
    if (row < rows && column < columns)
        tile[threadIdx.y][threadIdx.x] = x[row * columns + column];
    __syncthreads();
    row = blockIdx.y * SIDE + threadIdx.x, column = blockIdx.x * SIDE + threadIdx.y;
    if (row < rows && column < columns)
        y[column * rows + row] = tile[threadIdx.x][threadIdx.y];
}
"""


def transpose(edit=str):
    x = whole(13 * 19, "float16")
    args = x, np.zeros(x.size, "float16"), np.int32(13), np.int32(19)
    call = Call(RawKernel(edit(TRANSPOSE), "transpose"), (3, 2), (8, 8), args)
    return call, x.reshape(13, 19).T.ravel()


REVERSED = """
extern "C" __global__ void reversed(const int *x, int *y) {
    extern __shared__ int s[];
    const int t = threadIdx.x, n = blockDim.x, start = blockIdx.x * n;
    s[t] = x[start + t];
    __syncthreads();
    y[start + t] = s[n - 1 - t];
}
"""


def reversed_(edit=str):
    x = whole(80, "int32")
    kernel = RawKernel(edit(REVERSED), "reversed")
    call = Call(kernel, (2,), (40,), (x, np.zeros(80, "int32")), shared_mem=40 * 4)
    return call, x.reshape(2, 40)[:, ::-1].ravel()


VOTES = """
extern "C" __global__ void positives(const float *x, float *y, int *count) {
    const int lane = threadIdx.x;
    const bool mine = x[lane] > 0.0f;
    const unsigned ballot = __ballot_sync(~0u, mine);
    if (mine) y[__popc(ballot & ((1u << lane) - 1u))] = x[lane];
    const int any = __any_sync(~0u, mine), all = __all_sync(~0u, mine);
    if (lane == 0) *count = any && !all ? __popc(ballot) : -1;
}
"""


def votes(edit=str):
    x = whole(32)
    args = x, np.zeros((x > 0).sum(), "float32"), np.zeros(1, "int32")
    return Call(RawKernel(edit(VOTES), "positives"), (1,), (32,), args), x[x > 0]


LAST_BLOCK = """
extern "C" __global__ void last_block(const float *x, float *y, float *parts, unsigned *done) {
    __shared__ bool last;
    parts[blockIdx.x * blockDim.x + threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
    __threadfence();  // publish
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(done, 1u) == gridDim.x - 1;
    __syncthreads();
    if (!last) return;
    __threadfence();
    for (int b = 0; b < gridDim.x; ++b) y[threadIdx.x] += parts[b * blockDim.x + threadIdx.x];
}
"""


def last_block(edit=str):
    x = whole(64)
    args = x, np.zeros(16, "float32"), np.zeros(64, "float32"), np.zeros(1, "uint32")
    call = Call(RawKernel(edit(LAST_BLOCK), "last_block"), (4,), (16,), args)
    return call, x.reshape(4, 16).sum(0)


WIDE = """
extern "C" __global__ void wide(const float4 *x, float4 *y) {
    const float4 v = __ldg(&x[threadIdx.x]);
    y[threadIdx.x] = make_float4(-v.x, max(v.y, 0.0f), fma(v.z, v.z, 1.0f), sqrt(fabs(v.w)));
}
"""


def wide(edit=str):
    x = whole(32)
    y = np.stack([-x[::4], np.maximum(x[1::4], 0), x[2::4] ** 2 + 1, np.sqrt(np.abs(x[3::4]))], 1)
    kernel = RawKernel(edit(WIDE), "wide")
    return Call(kernel, (1,), (8,), (x, np.zeros(32, "float32"))), y.ravel()


MOMENTS = """
struct Moments { float count, mean, squares; };
__device__ __noinline__ void merge(Moments *a, const Moments *b) {
    const float count = a->count + b->count, delta = b->mean - a->mean;
    if (count == 0.0f) return;
    a->mean += delta * (b->count / count);
    a->squares += b->squares + delta * delta * (a->count * b->count / count);
    a->count = count;
}
extern "C" __global__ void moments(const float *x, float *y, int n) {
    __shared__ Moments warps[2];
    Moments mine = {}, values[2] = {{1.0f}, {1.0f}};
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        values[i % 2].mean = x[blockIdx.x * n + i];
        merge(&mine, &values[i % 2]);
    }
    for (int by = 16; by > 0; by /= 2) {
        Moments other;
        other.count = __shfl_down_sync(~0u, mine.count, by);
        other.mean = __shfl_down_sync(~0u, mine.mean, by);
        other.squares = __shfl_down_sync(~0u, mine.squares, by);
        merge(&mine, &other);
    }
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        merge(&mine, &warps[1]);
        y[blockIdx.x] = mine.squares / mine.count;
    }
}
"""


def moments(edit=str):
    x = np.tile(np.float32([9999, 10001]), (3, 128))
    args = x, np.zeros(3, "float32"), np.int32(x.shape[1])
    return Call(RawKernel(edit(MOMENTS), "moments"), (3,), (64,), args), [1, 1, 1]


RIGHT = {
    case.__name__: case
    for case in (
        tree,
        warp_tree,
        shuffles,
        histogram,
        transpose,
        reversed_,
        votes,
        last_block,
        moments,
        wide,
    )
}


def launch(call, order="forward", build="exact"):
    call.kernel(call.grid, call.block, call.args, call.shared_mem, order=order, build=build)
    return call.args


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", RIGHT)
def test_right_kernels_pass_in_every_order(case, order):
    call, expected = RIGHT[case]()
    np.testing.assert_array_equal(launch(call, order)[1], expected)


@pytest.mark.parametrize("kind", ["asan", "tsan"])
def test_right_kernels_are_clean(kind):
    calls, expected = zip(*(case() for case in RIGHT.values()), strict=True)
    for call, want, outcome in zip(calls, expected, sanitize(kind, calls), strict=True):
        assert outcome.report == ""
        np.testing.assert_array_equal(outcome.args[1], want)
        assert not call.args[1].any(), "a sanitizer works on copies"


# --- planted mistakes: the case, a place of its text, what is there instead -----------------------
RACES = {  # and the statement that races
    "a barrier is missing": ("transpose", "__syncthreads();", "", "tile[threadIdx.x]["),
    "a round of the tree lacks its barrier": (
        "tree",
        "__syncthreads();  // each round",
        "",
        "s[t] += s[t + half]",
    ),
    "a round of the tree writes what others read": (
        "tree",
        "t < half",
        "t + half < 64",
        "s[t] += s[t + half]",
    ),
    "a warp is taken to run in step": (
        "warp_tree",
        "__syncwarp();  // all have read",
        "",
        "s[t] += other",
    ),
    "shared memory is set to zero too late": (
        "histogram",
        "__syncthreads();  // zero",
        "",
        "atomicAdd(&counts",
    ),
}
SILENT_RACES = {  # threads that run until they wait get these right in every order
    "a shuffle is taken for a barrier": (
        "warp_tree",
        "__syncwarp();  // first",
        "__shfl_sync(~0u, 0, 0);",
        "other = s[",
    ),
    "a block counts without an atomic": (
        "histogram",
        "atomicAdd(&counts[x[i]], 1u)",
        "counts[x[i]] += 1u",
        "counts[x[i]] += 1u",
    ),
    "blocks add without an atomic": ("tree", "atomicAdd(y, s[0])", "*y += s[0]", "*y += s[0]"),
    "what a block wrote is not published": (
        "last_block",
        "__threadfence();  // publish",
        "",
        "y[threadIdx.x] +=",
    ),
}


def planted(case, old, new):
    """The call of a right kernel, one place of its text changed."""

    def edit(code):
        assert code.count(old) == 1, f"{old!r} is not once in the text"
        return code.replace(old, new)

    return RIGHT[case](edit)


def line_of(statement, call):
    before, found, _ = call.kernel.text.partition(statement)
    assert found
    return f"{call.kernel.name}.cu:{before.count(chr(10)) + 1}"


def run_planted(kind, table):
    """mistake -> the call and its outcome; all in one go, for the sake of time."""
    calls = [planted(*change[:3])[0] for change in table.values()]
    outcomes = sanitize(kind, calls)
    return dict(zip(table, zip(calls, outcomes, strict=True), strict=True))


@pytest.fixture(scope="module")
def races():
    return run_planted("tsan", RACES | SILENT_RACES)


@pytest.mark.parametrize("mistake", RACES | SILENT_RACES)
def test_tsan_names_the_line_and_a_thread_of_a_race(races, mistake):
    call, outcome = races[mistake]
    statement = (RACES | SILENT_RACES)[mistake][-1]
    assert "ThreadSanitizer: data race" in outcome.report
    assert line_of(statement, call) in outcome.report
    assert "'thread (" in outcome.report


@pytest.mark.parametrize("mistake", RACES)
def test_some_order_of_threads_shows_a_race(mistake):
    wrong = 0
    for order in ORDERS:
        call, expected = planted(*RACES[mistake][:3])
        wrong += not np.array_equal(launch(call, order)[1], expected)
    assert wrong


OUT_OF_BOUNDS = {  # and words of the report
    "shared memory, one after the end": (
        "tree",
        "s[t] = i < n ? x[i] : 0.0f",
        "s[t + 1] = i < n ? x[i] : 0.0f",
        ("index 64 out of bounds for type 'float [64]'", "heap-buffer-overflow"),
    ),
    "extern shared memory, one before the start": (
        "reversed_",
        "s[n - 1 - t]",
        "s[n - 2 - t]",
        ("heap-buffer-overflow", "READ of size 4"),
    ),
    "global memory, one read after the end": (
        "tree",
        "i < n",
        "i <= n",
        ("heap-buffer-overflow", "READ of size 4"),
    ),
    "global memory, one float16 written before the start": (
        "transpose",
        "y[column * rows + row]",
        "y[column * rows + row - 1]",
        ("heap-buffer-overflow", "WRITE of size 2"),
    ),
    "an atomic outside": (
        "histogram",
        "&y[threadIdx.x]",
        "&y[threadIdx.x + 1]",
        ("heap-buffer-overflow", "of size 8"),
    ),
    "a wild address": ("wide", "&x[threadIdx.x]", "x + (1ll << 40)", ("SEGV",)),
}


@pytest.fixture(scope="module")
def out_of_bounds():
    return run_planted("asan", OUT_OF_BOUNDS)


@pytest.mark.parametrize("mistake", OUT_OF_BOUNDS)
def test_asan_names_the_line_of_an_access_out_of_bounds(out_of_bounds, mistake):
    call, outcome = out_of_bounds[mistake]
    *_, statement, words = OUT_OF_BOUNDS[mistake]
    assert line_of(statement, call) in outcome.report
    for word in words:
        assert word in outcome.report
    assert outcome.args == (), "AddressSanitizer ends the run"


LAST = """
extern "C" __global__ void last(int *y, int rows, int columns) {
    const int index = rows * columns - 1;
    if (index > 0) *y = index;
}
"""


def test_ubsan_names_int_overflow_in_an_index_and_the_run_goes_on():
    args = np.zeros(1, "int32"), np.int32(70000), np.int32(70000)
    (outcome,) = sanitize("asan", [Call(RawKernel(LAST, "last"), (1,), (1,), args)])
    assert "last.cu:3:" in outcome.report
    assert "signed integer overflow: 70000 * 70000 cannot be represented" in outcome.report
    assert outcome.args[0] == 70000 * 70000 % 2**32 - 1


UNSET = """
extern "C" __global__ void unset(float *y, double *z, int *k) {
    __shared__ float s[3];
    __shared__ double d;
    extern __shared__ int e[];
    y[blockIdx.x] = s[2], z[blockIdx.x] = d, k[blockIdx.x] = e[7];
    s[2] = 1.0f, d = 1.0, e[7] = 1;
}
"""


def test_every_block_finds_shared_memory_unset():
    y, z, k = np.zeros(2, "float32"), np.zeros(2), np.zeros(2, "int32")
    RawKernel(UNSET, "unset")((2,), (1,), (y, z, k), shared_mem=32)
    assert np.isnan([y, z]).all()
    assert (k == -1).all()


@pytest.mark.parametrize("order", ORDERS)
def test_a_kernel_that_takes_shared_memory_for_zero_is_wrong(order):
    call, expected = planted("histogram", "counts[threadIdx.x] = 0", "")
    assert (launch(call, order)[1] != expected).all()


# --- threads that wait for threads that never come ------------------------------------------------
def waiting(body):
    """64 threads, the first 32 of them a warp; the body starts at line 2 of the text."""
    code = f'extern "C" __global__ void waiting(int *y) {{ const int t = threadIdx.x;\n{body}\n}}'
    return Call(RawKernel(code, "waiting"), (1,), (64,), (np.zeros(64, "int32"),))


DEADLOCKS = {
    "only some threads wait": (
        "if (t < 40) __syncthreads();",
        "thread (0,0,0) of block (0,0,0) waits in __syncthreads at line 2",
        "thread (40,0,0) of block (0,0,0) has left",
    ),
    "some threads have returned": (
        "if (t == 63) return;\n\n__syncthreads();",
        "waits in __syncthreads at line 4",
        "thread (63,0,0) of block (0,0,0) has left",
    ),
    "two barriers in the two branches": (
        "if (t < 32)\n__syncthreads();\nelse\n__syncthreads();",
        "thread (0,0,0) of block (0,0,0) waits in __syncthreads at line 3",
        "thread (32,0,0) of block (0,0,0) waits in __syncthreads at line 5",
    ),
    "some threads go round more often": (
        "for (int k = 0; k <= t % 2; ++k) __syncthreads();",
        "thread (1,0,0) of block (0,0,0) waits in __syncthreads",
        "thread (0,0,0) of block (0,0,0) has left",
    ),
    "half a warp waits for the other": (
        "if (t % 2) __syncwarp();",
        "thread (1,0,0) of block (0,0,0) waits in __syncwarp at line 2 with mask 0xffffffff",
        "thread (0,0,0) of block (0,0,0) has left",
    ),
    "a shuffle meets a vote": (
        "if (t % 2) y[t] = __shfl_sync(~0u, t, 0); else __ballot_sync(~0u, t);",
        "waits in __ballot_sync",
        "waits in __shfl_sync",
    ),
    "lanes name different masks": (
        "if (t < 3) __syncwarp(t == 1 ? 3 : 7);",
        "with mask 0x7",
        "with mask 0x3",
    ),
    "a lane is not in its own mask": (
        "y[t] = __shfl_down_sync(0xffff, t, 8);",
        "__shfl_down_sync at line 2 is not for the lane that calls it",
    ),
}


@pytest.mark.parametrize("mistake", DEADLOCKS)
def test_deadlock_is_an_error_that_names_both_threads(mistake):
    body, *words = DEADLOCKS[mistake]
    with pytest.raises(LaunchError) as caught:
        launch(waiting(body))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("kind", ["asan", "tsan"])
def test_a_launch_that_fails_is_in_a_sanitizers_report(kind):
    calls = [waiting("if (t) __syncthreads();"), waiting("__syncwarp(1);")]
    deadlock, mask = sanitize(kind, calls)
    assert deadlock.report.startswith("deadlock: thread (1,0,0) of block (0,0,0) waits")
    assert mask.report == "__syncwarp at line 2 is not for the lane that calls it"


def test_a_launch_that_fails_leaves_the_next_alone():
    good = waiting("y[t] = t; __syncthreads();")
    with pytest.raises(LaunchError):
        launch(waiting("if (t) __syncthreads();"))
    np.testing.assert_array_equal(launch(good)[0], np.arange(64))


def test_a_launch_that_spins_is_given_up(monkeypatch):
    call = waiting("while (*(volatile int *)y == 0) {}")
    sanitize("asan", [waiting("")])
    monkeypatch.setattr("proving.host.sanitized.PATIENCE_S", 0.5)
    (outcome,) = sanitize("asan", [call])
    assert outcome.report == "waiting still ran after 0.5 s"


# --- what the header promises ---------------------------------------------------------------------
def test_shuffles_take_their_value_from_the_lane_that_cuda_says():
    code = """
    extern "C" __global__ void lanes(int *y) {
        const int t = threadIdx.x;
        y[t] = __shfl_sync(~0u, t, 11, 8);
        y[32 + t] = __shfl_up_sync(~0u, t, 3, 8);
        y[64 + t] = __shfl_down_sync(~0u, t, 3, 8);
        y[96 + t] = __shfl_xor_sync(~0u, t, 5, 8);
        y[128 + t] = __shfl_xor_sync(~0u, t, 8, 8);
        y[160 + t] = __shfl_xor_sync(t < 16 ? 0xffffu : 0xffff0000u, t, 4);
    }"""
    y = np.zeros((6, 32), "int32")
    RawKernel(code, "lanes")((1,), (32,), (y,))
    lane, place = np.arange(32), np.arange(32) % 8
    np.testing.assert_array_equal(y[0], lane - place + 3)
    np.testing.assert_array_equal(y[1], np.where(place < 3, lane, lane - 3))
    np.testing.assert_array_equal(y[2], np.where(place > 4, lane, lane + 3))
    np.testing.assert_array_equal(y[3], lane ^ 5)
    np.testing.assert_array_equal(y[4], np.where(lane & 8, lane - 8, lane), "up stays, down goes")
    np.testing.assert_array_equal(y[5], lane ^ 4)


def test_lanes_that_a_block_does_not_have_hold_nobody_up_and_have_no_value():
    code = """
    extern "C" __global__ void partial(const double *x, double *y) {
        y[threadIdx.x] = __shfl_down_sync(~0u, x[threadIdx.x], 4);
    }"""
    x, y = np.arange(20.0), np.zeros(20)
    RawKernel(code, "partial")((1,), (20,), (x, y))
    np.testing.assert_array_equal(y, [*x[4:], *[np.nan] * 4])


def test_orders_are_those_of_threads_and_of_blocks_and_repeat():
    code = """
    extern "C" __global__ void arrive(int *y, int *ticket) {
        y[atomicAdd(ticket, 1)] = blockIdx.x * blockDim.x + threadIdx.x;
    }"""
    seen = []
    for order in ("forward", "reverse", 0, 0, 1):
        y = np.zeros(96, "int32")
        RawKernel(code, "arrive")((3,), (32,), (y, np.zeros(1, "int32")), order=order)
        np.testing.assert_array_equal(np.sort(y), np.arange(96))
        assert len(set(y[:32] // 32)) == 1, "one block after another"
        seen.append(list(y))
    assert seen[0] == seen[1][::-1] == sorted(seen[0])
    assert seen[2] == seen[3]
    assert seen[4] not in seen[:4]
    assert seen[2] not in seen[:2]


def test_indices_count_as_cuda_counts_them():
    code = """
    extern "C" __global__ void where(int *y) {
        const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        y[block * 24 + thread] = __ballot_sync(~0u, thread == 9) == 1u << 9;
    }"""
    y = np.zeros(24 * 12, "int32")
    RawKernel(code, "where")((2, 3, 2), (4, 2, 3), (y,))
    assert y.all()


@needs_fma
def test_builds_round_as_they_are_named():
    code = """
    extern "C" __global__ void rounds(const float *x, float *y) {
        y[0] = x[0] * x[0] - x[1];
        y[1] = fma(x[0], x[0], -x[1]);
        y[2] = x[2] * x[2];
        y[3] = rsqrt(x[3]);
    }"""
    x = np.array([1 + 2**-12, 1 + 2**-11, 2.0**-70, 3], "float32")
    y = {build: np.zeros(4, "float32") for build in ("exact", "fma", "ftz")}
    for build, array in y.items():
        RawKernel(code, "rounds")((1,), (1,), (x, array), build=build)
    least, root = 2.0**-140, np.float32(1 / np.sqrt(3))
    np.testing.assert_array_equal(y["exact"], np.float32([0, 2**-24, least, root]))
    np.testing.assert_array_equal(y["fma"], np.float32([2**-24, 2**-24, least, root]))
    np.testing.assert_array_equal(y["ftz"], np.float32([0, 2**-24, 0, root]))


# --- arguments ------------------------------------------------------------------------------------
TYPED = """
#define COUNT long long
typedef float real;
using large_index = COUNT;
__device__ __forceinline__ int nothing(int typed) { return typed; }
extern "C" {
__global__ void __launch_bounds__(BOUND) typed(
    const real* __restrict__ x,  // read, not (written)
    double *const y, int n, real rate, bool flag, /* the */ large_index large,
    float4 *v, const T *w) {}
__global__ void other(int k) {}
}
"""


def typed():
    return RawKernel(TYPED, "typed", ("-DT=unsigned char", "-DBOUND=64", "--std=c++17"))


def good_arguments():
    return {
        "x": np.zeros(2, "float32"),
        "y": np.zeros(2),
        "n": np.int32(1),
        "rate": np.float32(1),
        "flag": np.bool_(True),
        "large": np.int64(1),
        "v": np.zeros(8, "float32"),
        "w": np.zeros(2, "uint8"),
    }


def test_the_text_says_what_the_parameters_are():
    assert typed().parameters == (
        Parameter("x", "float", pointer=True, const=True),
        Parameter("y", "double", pointer=True, const=False),
        Parameter("n", "int", pointer=False, const=False),
        Parameter("rate", "float", pointer=False, const=False),
        Parameter("flag", "bool", pointer=False, const=False),
        Parameter("large", "long long", pointer=False, const=False),
        Parameter("v", "float4", pointer=True, const=False),
        Parameter("w", "unsigned char", pointer=True, const=True),
    )
    assert RawKernel(TYPED, "other").parameters == (Parameter("k", "int", False, False),)
    typed()((1,), (64,), tuple(good_arguments().values()))
    typed()((1,), (64,), tuple((good_arguments() | {"x": np.uint64(0)}).values()))


READ_ONLY = np.zeros(2)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("x", np.zeros(2), "declared float * but is given an array of float64"),
        ("x", np.float32(1), "declared float * but is given a scalar of float32"),
        ("x", None, "given a Python NoneType"),
        ("x", 0, "given a Python int; the null pointer is np.uint64(0)"),
        ("y", READ_ONLY, "read-only"),
        ("n", 1, "declared int but is given a Python int"),
        ("n", np.int64(1), "given a scalar of int64"),
        ("n", np.zeros(1, "int32"), "given an array of int32"),
        ("rate", 0.5, "given a Python float"),
        ("rate", np.float64(0.5), "given a scalar of float64"),
        ("flag", True, "given a Python bool"),
        ("large", np.uint64(1), "given a scalar of uint64"),
        ("v", np.zeros(4), "given an array of float64"),
    ],
)
def test_an_argument_of_another_type_is_named(name, value, words):
    args = good_arguments() | {name: value}
    with pytest.raises(AssertionError) as caught:
        typed()((1,), (1,), tuple(args.values()))
    assert str(caught.value).startswith(f"{name} is ")
    assert words in str(caught.value)


def test_a_missing_argument_is_an_error():
    with pytest.raises(AssertionError, match=r"typed takes \['x', .*'w'\] but is given 7"):
        typed()((1,), (1,), tuple(good_arguments().values())[:7])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("__global__ void f(int n) {}", 'not extern "C"'),
        ('extern "C" __global__ void g(int n) {}', "no kernel f"),
        ('extern "C" __global__ void f(float **x) {}', "x: the host can't pass"),
        ('extern "C" __global__ void f(Pair p) {}', "p: the host can't pass `Pair p`"),
        ('extern "C" __global__ void f() { __shared__ Pair<int> s; }', "__shared__ is unreadable"),
    ],
)
def test_a_text_that_the_host_can_not_run_is_refused(code, words):
    with pytest.raises(AssertionError, match=words):
        RawKernel(code, "f")


def test_text_that_does_not_compile_shows_what_the_compiler_says():
    with pytest.raises(AssertionError, match=r"f\.cu:2:.*nothing"):
        RawKernel('\nextern "C" __global__ void f() { nothing(); }', "f")((1,), (1,), ())


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((0,), (1,)),
        ((1, 65536), (1,)),
        ((1,), (1, 1, 65)),
        ((1,), (65,)),
        ((1,), (8, 9)),
    ],
)
def test_a_launch_that_a_gpu_would_refuse_is_refused(grid, block):
    with pytest.raises(AssertionError, match=r"typed: (grid|block)"):
        typed()(grid, block, tuple(good_arguments().values()))


def test_shared_memory_has_a_limit():
    call, _ = RIGHT["reversed_"]()
    with pytest.raises(LaunchError, match="49156 bytes of shared memory in 1 declarations"):
        launch(replace(call, shared_mem=MAX_SHARED + 4))
    call.kernel.max_dynamic_shared_size_bytes = 64 << 10
    launch(replace(call, shared_mem=MAX_SHARED + 4))
    with pytest.raises(LaunchError, match="49408 bytes of shared memory in 2 declarations"):
        launch(replace(RIGHT["tree"]()[0], shared_mem=MAX_SHARED))


# --- sanitizers work on copies --------------------------------------------------------------------
STRIDED = """
extern "C" __global__ void strided(const float *x, long long step, float *y) {
    y[threadIdx.x] = x[threadIdx.x * step];
}
"""


def test_views_and_overlap_are_as_in_the_arrays_given():
    kernel, base = RawKernel(STRIDED, "strided"), whole(40)
    backward = Call(kernel, (1,), (20,), (base[::-2], np.int64(-2), np.zeros(20, "float32")))
    shifted = Call(kernel, (1,), (39,), (base[1:], np.int64(1), base[:-1]))
    outcomes = sanitize("asan", [backward, shifted])
    assert [outcome.report for outcome in outcomes] == ["", ""]
    np.testing.assert_array_equal(outcomes[0].args[0], base[::-2])
    np.testing.assert_array_equal(outcomes[0].args[2], base[::-2])
    np.testing.assert_array_equal(outcomes[1].args[2], base[1:])
    np.testing.assert_array_equal(outcomes[1].args[0], [*base[2:], base[-1]])


def test_the_neighbours_of_a_view_are_out_of_bounds():
    base = whole(40)
    args = base[10:20], np.int64(1), np.zeros(11, "float32")
    (outcome,) = sanitize("asan", [Call(RawKernel(STRIDED, "strided"), (1,), (11,), args)])
    assert "heap-buffer-overflow" in outcome.report


def test_an_array_that_is_not_aligned_stays_so():
    call, _ = RIGHT["wide"]()
    args = np.zeros(33, "float32")[1:], call.args[1]
    assert args[0].ctypes.data % 16 == 4
    (outcome,) = sanitize("asan", [replace(call, args=args)])
    assert "misaligned address" in outcome.report


@pytest.mark.parametrize("kind", ["asan", "tsan"])
def test_a_sanitizer_build_writes_what_the_others_write_or_raises_its_report(kind):
    if reason := missing(kind):
        pytest.skip(reason)
    call, expected = RIGHT["tree"]()
    np.testing.assert_array_equal(launch(call, build=kind)[1], expected)
    change, word = {
        "asan": ("y[blockIdx.x] = 5.0f", "heap-buffer-overflow"),
        "tsan": ("*y = 5.0f", "data race"),
    }[kind]
    call, _ = planted("tree", "atomicAdd(y, s[0])", change)
    with pytest.raises(AssertionError, match=word):
        launch(call, build=kind)
    assert call.args[1] == 0


def test_a_sanitizer_that_is_not_there_says_so():
    assert missing("nosuch") == "g++ has no libnosuch.so"
