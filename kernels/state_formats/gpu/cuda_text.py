"""The CUDA C text of a step on arrays of a layout, as plain text so that it can be proven without a
GPU.

A thread takes eight neighbours, loads and stores sixteen bytes of each array (eight of codes) at a
time where addresses allow it, and keeps its new states in registers until the largest one of their
block is known. The threads of a block of the quantization are neighbours: of a warp, which shuffle
what they have, or of several, which meet in shared memory.
"""

from __future__ import annotations

import re
from functools import cache

from ...compiling import c_text
from ...compiling.dtypes import C_TYPES
from ...compiling.python_text import scalar_names
from ..layout import Layout, Statement
from .functions import in_order

EACH = 8
"""Neighbours that a thread takes."""

RESIDENT, FEWER = 768, 512
"""Threads that a GPU's processor is to hold: each then has 80 registers, or 128."""

MOST = 5
"""Arrays of a value an element beside which 80 suffice."""

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

# Neighbours in registers. Those behind an array's end are zero, and not written.
_PACKS = """
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

# The largest word of those of a group of neighbouring threads, to all of them. Where a group has
# several warps, `parts` has room for all warps of two turns: who has read those of one turn has
# passed the barrier of the next before they are written again.
_LARGEST = """
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

_KERNEL = """
extern "C" __global__ __launch_bounds__(THREADS, RESIDENT)
void SYMBOL(ARRAYS, const long long size, const Word key0, const Word key1, SCALARS) {
    const bool aligned = (ADDRESSES) % 16 == 0 && (CODES) % 8 == 0;
    const long long tiles = (size + THREADS * EACH - 1) / (THREADS * EACH);
    const int lane = threadIdx.x % GROUP;
    MEETING
    #pragma unroll 1
    for (long long tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const long long begin = tile * (THREADS * EACH) + threadIdx.x * EACH;
        const int count = size - begin < EACH ? (int)max(size - begin, 0ll) : EACH;
        const bool whole = aligned && count == EACH;
        const long long b = begin / BLOCK;
        const bool there = b * BLOCK < size;
        const Word block = (Word)b;
        WORDS
        SCALES
        LOADS
        FRESH
        #pragma unroll
        for (int i = 0; i < EACH; ++i) {
            STEP
        }
        STORES
        LARGEST
    }
}
"""

# Elements behind the end of an array are no part of its last block, whatever became of them.
_CODES = """if (count < EACH) {
            #pragma unroll
            for (int i = 0; i < EACH; ++i) if (i >= count) { ABSENT }
        }
        #pragma unroll
        for (int i = 0; i < EACH; ++i) { MOST }
        ACROSS
        ENDS
        if (there && lane == 0) { SCALED }
        BEGUN
        #pragma unroll
        for (int i = 0; i < EACH; ++i) {
            CODED
        }
        STORED"""

_WARPS = """if (threadIdx.x % WARP == 0) { PARTS }
        __syncthreads();
        MEET
        turn ^= 1;"""


def symbol(layout: Layout, block: int) -> str:
    """What the text calls the kernel."""
    return f"onepass_{layout.name}_{block}"


def threads_of(block: int, least: int) -> int:
    """Threads of a GPU's block: `least`, or as many as a block of the quantization takes."""
    return max(least, block // EACH)


def source(layout: Layout, block: int, threads: int) -> str:
    """The kernel's whole text: (*arrays, size, key0, key1, *coefficients).

    Args:
        block: elements of a block of the quantization.
        threads: of a GPU's block: a multiple of 32 that `threads_of` gives.
    """
    numbers = {"BLOCK": block, "THREADS": threads, "EACH": EACH}
    values = [name for name in layout.arrays() if name.endswith("_at")]
    numbers["RESIDENT"] = (RESIDENT if len(values) <= MOST else FEWER) // threads
    defined = "".join(f"#define {name} {number}\n" for name, number in numbers.items())
    words = {"SYMBOL": symbol(layout, block), **_words(layout, block)}
    kernel = re.sub(r"[A-Z]{4,}", lambda found: words.get(found[0], found[0]), _KERNEL)
    return f"{defined}{functions()}{_PACKS}{_LARGEST}{c_text.PREAMBLE}{kernel}"


@cache
def functions() -> str:
    """The formulas in C, with what they are made of."""
    return _PRIMITIVES + "".join(map(c_text.typed_function, in_order()))


def _words(layout: Layout, block: int) -> dict[str, str]:
    """What stands for each word in capitals of the kernel."""
    arrays, states = layout.arrays(), layout.in_blocks
    packs = {name: dtype for name, dtype in arrays.items() if name.endswith("_at")}
    written = [name for name in packs if name != "g_at"]
    codes = [f"{name}_at" for name in states]
    wide = [name for name in packs if name not in codes]
    pairs = range(layout.pairs())
    turned = [(f"word{k}", f"plus(word{k}, pace{k})") for k in pairs]

    def stored(names: list[str]) -> str:
        return "\n".join(f"unpack({each}, {_to(each)} + begin, count, whole);" for each in names)

    step = _lines([(f"float {target}", value) for target, value in layout.loads()])
    step += f"\n{{\n{c_text.operation(layout.rule, 'float')}\n}}\n{_lines(layout.stores())}"
    step += "".join(f"\n{name}_new[i] = {name};" for name in states)
    words = [(f"const Word {target}", value) for target, value in layout.words()]
    # The first of a thread: its block's start, and the pace for each place before it.
    first = [(f"const Word first{k}", f"plus(start{k}, times(pace{k}, place))") for k in pairs]
    found = {
        "ARRAYS": ", ".join(
            f"{'const ' * (name == 'g_at')}{C_TYPES[dtype]} *{_to(name)}"
            for name, dtype in arrays.items()
        ),
        "SCALARS": ", ".join(f"const float {name}" for name in scalar_names(layout.rule)),
        "ADDRESSES": " | ".join(f"(size_t){_to(name)}" for name in wide),
        "CODES": " | ".join(f"(size_t){_to(name)}" for name in codes) or "0",
        "WORDS": "\n".join(
            ["const Word place = (Word)(begin % BLOCK);"] * bool(pairs) + [_lines([*words, *first])]
        ),
        "SCALES": "\n".join(
            f"const float {name}_scale = there ? {_to(f'{name}_scales')}[b] : 0.0f;"
            for name in states
        ),
        "LOADS": "\n".join(
            f"Pack<{C_TYPES[dtype]}> {name} = packed({_to(name)} + begin, count, whole);"
            for name, dtype in packs.items()
        ),
        "FRESH": "\n".join(
            [*(f"Pack<float> {name}_new;" for name in states), *_begun(pairs, "Word ")]
        ),
        "STEP": "\n".join([step, _lines(turned)]),
        "STORES": stored([name for name in written if name not in codes]),
        "MEETING": "",
        "LARGEST": "",
    }
    if states:
        found |= _of_codes(layout, block, _lines(turned), stored(codes))
    return found


def _of_codes(layout: Layout, block: int, turned: str, stored: str) -> dict[str, str]:
    """What is done to the states in 8 bits once all of a thread's are new."""
    states, several = layout.in_blocks, block > EACH * 32
    ends = [
        (target, value)
        for target, value in layout.block_ends()
        if not target.endswith("_scales[b]")
    ]
    scales = [each for each in layout.block_ends() if each not in ends]
    kinds = {"factor": "float", "kept": "Word"}
    coded = [layout.code(name, f"{name}_new[i]") for name in states]
    across = "\n".join(f"{name}_most = across_lanes({name}_most);" for name in states)
    if not several:
        across += "\n__syncwarp();  // all have read the scales that one of them writes"
    else:
        words = {
            "PARTS": " ".join(
                f"parts[turn][{k}][threadIdx.x / WARP] = {name}_most;"
                for k, name in enumerate(states)
            ),
            "MEET": "\n".join(
                f"{name}_most = across_warps(parts[turn][{k}]);" for k, name in enumerate(states)
            ),
        }
        across += "\n" + re.sub(r"[A-Z]{4,}", lambda each: words.get(each[0], each[0]), _WARPS)
    words = {
        "ABSENT": " ".join(f"{name}_new[i] = 0.0f;" for name in states),
        "MOST": _lines(
            [(f"{name}_most", f"largest({name}_most, {name}_new[i])") for name in states]
        ),
        "ACROSS": across,
        "ENDS": _lines(
            [(f"const {kinds[target.rpartition('_')[2]]} {target}", value)
             for target, value in ends]
        ),  # fmt: skip
        "SCALED": _lines([(re.sub(r"(\w+)\[", _scales, target), value) for target, value in scales]),
        "BEGUN": "\n".join(_begun(range(layout.pairs()), "")),
        "CODED": "\n".join([_lines(coded), turned]),
        "STORED": stored,
    }
    codes = re.sub(r"[A-Z]{4,}", lambda each: words.get(each[0], each[0]), _CODES)
    fresh = "\n".join(f"Word {name}_most = 0;" for name in states)
    meeting = f"__shared__ Word parts[2][{len(states)}][THREADS / WARP];\nint turn = 0;"
    return {"LARGEST": f"{fresh}\n{codes}", "MEETING": meeting if several else ""}


def _begun(pairs: range, declared: str) -> list[str]:
    return [f"{declared}word{k} = first{k};" for k in pairs]


def _scales(found: re.Match[str]) -> str:
    return f"{_to(found[1])}["


def _to(name: str) -> str:
    """What the kernel calls the array whose part in registers statements know by this name."""
    return f"{name}_all"


def _lines(statements: list[Statement]) -> str:
    """As C statements."""
    return "\n".join(
        f"{target} = {c_text.typed_expression(value)};" for target, value in statements
    )
