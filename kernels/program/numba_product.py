"""Matrix products in a program: calls of BLAS on pieces of the longest side, which threads share.

A piece of the inner side gives a part of every sum; the parts are added up afterwards. It packs
nothing twice, and in training each thread meets those rows of a weight again that it updates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..compiling.jit import once
from ..compiling.specialize import specialize
from ..simd.loops import c_function, inline
from ..simd.memory import memory, record, span
from .blas import Blas
from .program import Program

INTEGERS = (
    "gemm", "turn_a", "turn_b", "m", "n", "k", "a", "lda", "b", "ldb", "c", "ldc", "parts", "side",
    "piece",
)  # fmt: skip
JOB = np.dtype([(name, "i8") for name in INTEGERS])
"""C = op(A) op(B) in Fortran's order, C (m, n): the address of gemm; whether A and B are turned;
addresses and leading dimensions; where the parts of sums go, but for the first; the side that is
cut, and into how long pieces."""
LEFT = INTEGERS.index("b")
M, N, K = range(3)

NUMBER: Any = np.float32
ITEMSIZE: Any = 4
INTEGER: Any = np.int32  # of BLAS
LEAST = 400_000  # multiplications that are worth sharing
SMALL = 900_000  # those of a piece of the inner side: OpenBLAS takes up to 1e6 without packing
SHORT = 64  # rows or columns of a small piece, likewise
FEW = 8_000_000  # multiplications of a product that is cut into small pieces
LARGE = 6_000_000  # those of a piece of a larger product, at least
MOST, PARTS = 16, 4  # pieces; of the inner side, whose results are to be added
SLOW = 0.1  # nanoseconds of a multiplication on a slow core
ADDED = 1 << 13  # elements of a result to which a thread adds parts at a time
GRAIN = 16  # rows or columns that a piece is a multiple of


@intrinsic
def call_gemm(
    typing: Any, gemm: Any, turn_a: Any, turn_b: Any, m: Any, n: Any, k: Any, a: Any, lda: Any,
    b: Any, ldb: Any, c: Any, ldc: Any, one: Any, zero: Any, integer: Any,
) -> Any:  # fmt: skip
    """gemm(turn_a ? 'T' : 'N', ..., alpha=one, ..., beta=zero, ...)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (gemm, turn_a, turn_b, m, n, k, a, lda, b, ldb, c, ldc, one, zero, _) = args
        byte, word = ir.IntType(8), ir.IntType(integer.dtype.bitwidth)
        pointer = byte.as_pointer()

        def place(value: Any) -> Any:
            room = cgutils.alloca_once(builder, value.type)
            builder.store(value, room)
            return builder.bitcast(room, pointer)

        def letter(turned: Any) -> Any:
            is_turned = builder.icmp_signed("!=", turned, turned.type(0))
            return place(builder.select(is_turned, byte(ord("T")), byte(ord("N"))))

        def count(value: Any) -> Any:
            return place(builder.trunc(value, word) if word.width < 64 else value)

        def memory(value: Any) -> Any:
            return builder.inttoptr(value, pointer)

        given = [
            letter(turn_a), letter(turn_b), count(m), count(n), count(k), place(one),
            memory(a), count(lda), memory(b), count(ldb), place(zero), memory(c), count(ldc),
        ]  # fmt: skip
        kind = ir.FunctionType(ir.VoidType(), [pointer] * len(given)).as_pointer()
        builder.call(builder.inttoptr(gemm, kind), given)
        return context.get_dummy_value()

    integers = [types.int64] * 12
    return types.void(*integers, one, zero, integer), generate


def product(low: Any, high: Any, place: Any) -> None:
    """Pieces low to high of a product."""
    job = record(place, JOB)
    one, zero = NUMBER(1), NUMBER(0)
    for piece in range(low, high):
        start, m, n, k = piece * job.piece, job.m, job.n, job.k
        a, b, c = job.a, job.b, job.c
        if job.side == M:
            m = min(job.piece, m - start)
            a += start * ITEMSIZE * (job.lda if job.turn_a else 1)
            c += start * ITEMSIZE
        elif job.side == N:
            n = min(job.piece, n - start)
            b += start * ITEMSIZE * (1 if job.turn_b else job.ldb)
            c += start * ITEMSIZE * job.ldc
        else:
            k = min(job.piece, k - start)
            a += start * ITEMSIZE * (1 if job.turn_a else job.lda)
            b += start * ITEMSIZE * (job.ldb if job.turn_b else 1)
            if piece:
                c = job.parts + (piece - 1) * ITEMSIZE * m * n
        call_gemm(
            job.gemm, job.turn_a, job.turn_b, m, n, k, a, job.lda, b, job.ldb, c, job.ldc,
            one, zero, INTEGER,
        )  # fmt: skip


def add_parts(low: Any, high: Any, place: Any) -> None:
    """out += each part in turn, for elements low to high."""
    job = carray(place, (4,), np.int64)
    out = memory(job[0], job[2], NUMBER)
    for part in range(job[3]):
        parts = memory(job[1] + part * ITEMSIZE * job[2], job[2], NUMBER)
        add(span(parts, low, high), span(out, low, high))


@inline
def add(source: Any, target: Any) -> None:
    for i in range(target.size):
        target[i] += source[i]


@once
def compiled(name: str, kind: str, bits: int) -> Any:
    number, integer = np.dtype(kind), np.int32 if bits == 32 else np.int64
    names = {"NUMBER": number.type, "ITEMSIZE": number.itemsize, "INTEGER": integer}
    return c_function(specialize(globals()[name], **names))


def matmul(
    program: Program, blas: Blas, a: np.ndarray, b: np.ndarray, out: np.ndarray,
    parts: np.ndarray, job: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """out = a b, of two axes; `out` and either a and b or their transposes are contiguous.

    Args:
        parts: room for `parts_of` it results beside `out`, free again afterwards.
        job: a JOB to be filled in, whose word `LEFT` is the address of a.
    """
    (rows, inner), columns, kind = a.shape, b.shape[1], out.dtype.char
    turn_a, lda = _order(b)  # out.T = b.T a.T in Fortran's order
    turn_b, ldb = _order(a)
    side, piece, pieces = cut(columns, rows, inner) if program.shared else (M, columns, 1)
    values = (
        blas.gemm(kind), turn_a, turn_b, columns, rows, inner, b.ctypes.data, lda, a.ctypes.data,
        ldb, out.ctypes.data, max(1, columns), parts.ctypes.data, side, piece,
    )  # fmt: skip
    for name, value in zip(INTEGERS, values, strict=True):
        job[name] = value
    function, share = compiled("product", kind, blas.bits).address, rows * columns * inner / pieces
    program.add(
        function, job, a, b, out, parts, size=pieces, chunk=int(pieces > 1),
        nanoseconds=SLOW * share, name="product",
    )  # fmt: skip
    if len(parts):
        last = np.array([out.ctypes.data, parts.ctypes.data, out.size, len(parts)])
        function = compiled("add_parts", kind, blas.bits).address
        chunk = ADDED if out.size > 2 * ADDED else 0
        program.add(function, last, out, parts, size=out.size, chunk=chunk, name="product")
    return out


def parts_of(program: Program, a: np.ndarray, b: np.ndarray) -> int:
    """How many parts are added to a result whose products are cut along the inner side."""
    side, _, pieces = cut(b.shape[1], *a.shape)
    return pieces - 1 if side == K and program.shared else 0


def cut(m: int, n: int, k: int) -> tuple[int, int, int]:
    """How a product is cut, by its shape alone: the side, the length of a piece, and how many."""
    work = m * n * k
    side, length = max(enumerate((m, n, k)), key=lambda each: each[1])
    if work < LEAST:
        piece = length
    elif work > FEW:
        most = PARTS if side == K else MOST
        piece = -(-length // min(most, max(2, work // LARGE)))
    elif side == K:
        piece = -(-length * SMALL // work)
    else:
        piece = SHORT
    piece = max(1, min(length, -(-piece // GRAIN) * GRAIN))
    return side, piece, -(-length // piece)


def _order(array: np.ndarray) -> tuple[bool, int]:
    """Whether its rows are turned, seen from Fortran, and its leading dimension."""
    if array.flags.c_contiguous:
        return False, max(1, array.shape[1])
    assert array.flags.f_contiguous
    return True, max(1, array.shape[0])
