"""The loops of softmax cross-entropy on the CPU: each walks one run of memory, in SIMD."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from ...simd.exp import exp
from ...simd.half import load, store
from ...simd.loops import inline, reduction

PIECE = 1024  # numbers added up in their own precision; the sums of pieces add up in float64
_WORDS = {types.float32: types.int32, types.float64: types.int64}
_NUMBERS = {word: number for number, word in _WORDS.items()}


def _ordered(builder: Any, bits: Any) -> Any:
    """Bits of floating-point numbers as integers in the same order, and those as bits again."""
    word = bits.type
    sign = builder.ashr(bits, word(word.width - 1))
    return builder.xor(bits, builder.and_(sign, word((1 << (word.width - 1)) - 1)))


@intrinsic
def rank(typing: Any, number: Any) -> Any:
    """An integer that is larger for larger numbers: its maximum needs no care for NaN."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _ordered(builder, builder.bitcast(args[0], ir.IntType(number.bitwidth)))

    return _WORDS[number](number), generate


@intrinsic
def ranked(typing: Any, word: Any) -> Any:
    """The number of that rank."""
    number = _NUMBERS[word]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(_ordered(builder, args[0]), context.get_value_type(number))

    return number(word), generate


@inline
def largest(z: Any) -> Any:
    """The maximum of z. A NaN is above all numbers, or below, if its sign bit is set."""
    top = rank(load(z, 0))
    for i in range(z.size):
        here = rank(load(z, i))
        top = here if here > top else top
    return ranked(top)


@inline
def shift(z: Any, work: Any, top: Any) -> None:
    """work = z - top."""
    for i in range(work.size):
        work[i] = load(z, i) - top


@inline
def shift_in_place(work: Any, top: Any) -> None:
    for i in range(work.size):
        work[i] -= top


@inline
def exponentials(work: Any) -> None:
    """work = exp(work)."""
    for i in range(work.size):
        work[i] = exp(work[i])


@reduction
def piece_total(work: Any, zero: Any) -> Any:
    total = zero
    for i in range(work.size):
        total += work[i]
    return total


@inline
def total(work: Any, zero: Any) -> float:
    """The sum of work in float64."""
    sums = 0.0
    for low in range(0, work.size, PIECE):
        sums += piece_total(work[low : low + PIECE], zero)
    return sums


@inline
def scale(work: Any, factor: Any) -> None:
    for i in range(work.size):
        work[i] *= factor


@inline
def scale_half(work: Any, out: Any, factor: Any) -> None:
    """out = work factor, rounded to float16."""
    for i in range(work.size):
        store(out, i, work[i] * factor)


@inline
def lower(work: Any, factor: Any, even: Any) -> None:
    for i in range(work.size):
        work[i] = work[i] * factor - even


@inline
def lower_half(work: Any, out: Any, factor: Any, even: Any) -> None:
    """out = work factor - even, rounded to float16."""
    for i in range(work.size):
        store(out, i, work[i] * factor - even)


def scaled(work: Any, out: Any, factor: Any) -> None:
    """out = work factor; work is out itself unless out holds float16."""
    raise NotImplementedError("compiled code only")


@overload(scaled)
def _scaled(work, out, factor):
    if out.dtype == types.uint16:
        return lambda work, out, factor: scale_half(work, out, factor)
    return lambda work, out, factor: scale(work, factor)


def lowered(work: Any, out: Any, factor: Any, even: Any) -> None:
    """out = work factor - even, likewise."""
    raise NotImplementedError("compiled code only")


@overload(lowered)
def _lowered(work, out, factor, even):
    if out.dtype == types.uint16:
        return lambda work, out, factor, even: lower_half(work, out, factor, even)
    return lambda work, out, factor, even: lower(work, factor, even)
