"""The CUDA C text of a step on arrays of a layout, as plain text so that it can be proven without a
GPU.

A thread takes eight neighbours, loads and stores sixteen bytes of an array (eight of codes) at a
time where addresses allow it, and keeps its new states in registers until the largest one of their
block is known. The threads of a block of the quantization are neighbours: of a warp, which shuffle
what they have, or of several, which meet in shared memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ...compiling import c_text
from ...compiling.dtypes import C_TYPES
from ...compiling.python_text import scalar_names
from ..layout import Layout, Statement
from .cuda_words import LARGEST, PACKS, functions

EACH = 8
"""Neighbours that a thread takes."""

RESIDENT, FEWER = 768, 512
"""Threads that a GPU's processor is to hold: each then has 80 registers, or 128."""

MOST = 5
"""Arrays of a value an element beside which 80 suffice."""

_WARP = 32

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
        const Word block = (Word)b, place = (Word)(begin % BLOCK);
        WORDS
        SCALES
        LOADS
        FRESH
        BEGUN
        #pragma unroll
        for (int i = 0; i < EACH; ++i) {
            STEP
            TURNED
        }
        STORES
        CODED
    }
}
"""

# Of states in 8 bits. What is behind the end of an array is no part of its last block, whatever
# became of it.
_CODES = """MOST
        if (count < EACH) {
            #pragma unroll
            for (int i = 0; i < EACH; ++i) if (i >= count) { ABSENT }
        }
        #pragma unroll
        for (int i = 0; i < EACH; ++i) { LARGER }
        LANES
        WARPS
        FACTORS
        if (there && lane == 0) { ENDS }
        AGAIN
        #pragma unroll
        for (int i = 0; i < EACH; ++i) {
            CODE
            TURNED
        }
        STORED"""

# Lanes have read the scales that one of them is to write.
_ONE_WARP = "__syncwarp();"

# Who has read the parts of one turn has passed the barrier of the next before they are written
# again.
_WARPS = """if (threadIdx.x % WARP == 0) { PARTS }
        __syncthreads();
        JOINED
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
        threads: of a GPU's block, as `threads_of` gives them for a multiple of 32.
    """
    resident = RESIDENT if len(_packs(layout)) <= MOST else FEWER
    numbers = {"BLOCK": block, "THREADS": threads, "EACH": EACH, "RESIDENT": resident // threads}
    defined = "".join(f"#define {name} {number}\n" for name, number in numbers.items())
    words = {"SYMBOL": symbol(layout, block), **_kernel(layout), "MEETING": "", "CODED": ""}
    if states := layout.in_blocks:
        several = block > EACH * _WARP
        words["CODED"] = _filled(_CODES, _codes(layout, several))
        if several:
            parts = f"__shared__ Word parts[2][{len(states)}][THREADS / WARP];"
            words["MEETING"] = f"{parts}\n    int turn = 0;"
    kernel = _filled(_KERNEL, words)
    return f"{defined}{functions()}{PACKS}{LARGEST}{c_text.PREAMBLE}{kernel}"


def _filled(text: str, words: Mapping[str, str]) -> str:
    """With what stands for each word in capitals."""
    return re.sub(r"[A-Z]{4,}", lambda found: words.get(found[0], found[0]), text)


def _packs(layout: Layout) -> dict[str, str]:
    """The dtypes of the arrays of a value an element."""
    return {name: each for name, each in layout.arrays().items() if name.endswith("_at")}


def _kernel(layout: Layout) -> dict[str, str]:
    """What stands for the words of the kernel."""
    packs, codes = _packs(layout), [f"{name}_at" for name in layout.in_blocks]
    wide = [name for name in packs if name not in codes]
    pairs, arrays = range(layout.pairs()), layout.arrays().items()
    first = [(f"first{k}", f"plus(start{k}, times(pace{k}, place))") for k in pairs]
    body = c_text.operation(layout.rule, "float")
    new = [f"{name}_new[i] = {name};" for name in layout.in_blocks]
    return {
        "ARRAYS": ", ".join(
            f"{'const ' * (name == 'g_at')}{C_TYPES[dtype]} *{_to(name)}" for name, dtype in arrays
        ),
        "SCALARS": ", ".join(f"const float {name}" for name in scalar_names(layout.rule)),
        "ADDRESSES": " | ".join(f"(size_t){_to(name)}" for name in wide),
        "CODES": " | ".join(f"(size_t){_to(name)}" for name in codes) or "0",
        "WORDS": _lines([*layout.words(), *first], "const Word "),
        "SCALES": _joined(
            f"const float {name}_scale = there ? {_to(f'{name}_scales')}[b] : 0.0f;"
            for name in layout.in_blocks
        ),
        "LOADS": _joined(
            f"Pack<{C_TYPES[dtype]}> {name} = packed({_to(name)} + begin, count, whole);"
            for name, dtype in packs.items()
        ),
        "FRESH": _joined(f"Pack<float> {name}_new;" for name in layout.in_blocks),
        "BEGUN": _joined(f"Word word{k} = first{k};" for k in pairs),
        "STEP": _joined(
            [_lines(layout.loads(), "float "), f"{{\n{body}\n}}", _lines(layout.stores()), *new]
        ),
        "TURNED": _turned(layout),
        "STORES": _stored(name for name in wide if name != "g_at"),
    }


def _codes(layout: Layout, several: bool) -> dict[str, str]:
    """What stands for the words of what becomes of states in 8 bits.

    Args:
        several: whether their blocks have several warps.
    """
    states = layout.in_blocks
    scales = [each for each in layout.block_ends() if each[0].endswith("_scales[b]")]
    factors = [each for each in layout.block_ends() if each not in scales]
    meeting = {
        "PARTS": _joined(
            f"parts[turn][{k}][threadIdx.x / WARP] = {name}_most;" for k, name in enumerate(states)
        ),
        "JOINED": _joined(
            f"{name}_most = across_warps(parts[turn][{k}]);" for k, name in enumerate(states)
        ),
    }
    return {
        "MOST": _joined(f"Word {name}_most = 0;" for name in states),
        "ABSENT": _joined(f"{name}_new[i] = 0.0f;" for name in states),
        "LARGER": _lines(
            [(f"{name}_most", f"largest({name}_most, {name}_new[i])") for name in states]
        ),
        "LANES": _joined(f"{name}_most = across_lanes({name}_most);" for name in states),
        "WARPS": _filled(_WARPS, meeting) if several else _ONE_WARP,
        "FACTORS": _lines(factors, "const auto "),
        "ENDS": _lines([(f"{_to(target[:-3])}[b]", value) for target, value in scales]),
        "AGAIN": _joined(f"word{k} = first{k};" for k in range(layout.pairs())),
        "CODE": _lines([layout.code(name, f"{name}_new[i]") for name in states]),
        "TURNED": _turned(layout),
        "STORED": _stored(f"{name}_at" for name in states),
    }


def _turned(layout: Layout) -> str:
    """The noise of the next element."""
    return _lines([(f"word{k}", f"plus(word{k}, pace{k})") for k in range(layout.pairs())])


def _stored(names: Iterable[str]) -> str:
    return _joined(f"unpack({name}, {_to(name)} + begin, count, whole);" for name in names)


def _to(name: str) -> str:
    """What the kernel calls the array whose part in registers statements know by this name."""
    return f"{name}_all"


def _lines(statements: Iterable[Statement], declared: str = "") -> str:
    """As C statements."""
    return _joined(
        f"{declared}{target} = {c_text.typed_expression(value)};" for target, value in statements
    )


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines)
