"""Matrix products in a program: calls of BLAS on pieces of the result, which threads share."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..compiling.jit import cfunc, once
from ..compiling.specialize import specialize
from ..simd.loops import OPTIONS
from ..simd.memory import record
from .blas import Blas
from .program import Program

INTEGERS = (
    "gemm", "turn_a", "turn_b", "m", "n", "k", "a", "lda", "b", "ldb", "c", "ldc", "by_columns",
    "piece",
)  # fmt: skip
JOB = np.dtype([(name, "i8") for name in INTEGERS])
"""C = op(A) op(B) in Fortran's order, C (m, n): the address of gemm; whether A and B are turned;
addresses and leading dimensions; whether a task takes columns of C or rows, and how many."""

NUMBER: Any = np.float32
ITEMSIZE: Any = 4
INTEGER: Any = np.int32  # of BLAS
LEAST = 1 << 19  # multiplications of a piece
PIECES = 8  # at most
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
        start = piece * job.piece
        m, n, a, b = job.m, job.n, job.a, job.b
        if job.by_columns:
            n = min(job.piece, n - start)
            b += start * ITEMSIZE * (1 if job.turn_b else job.ldb)
            c = job.c + start * ITEMSIZE * job.ldc
        else:
            m = min(job.piece, m - start)
            a += start * ITEMSIZE * (job.lda if job.turn_a else 1)
            c = job.c + start * ITEMSIZE
        call_gemm(
            job.gemm, job.turn_a, job.turn_b, m, n, job.k, a, job.lda, b, job.ldb, c, job.ldc,
            one, zero, INTEGER,
        )  # fmt: skip


@once
def compiled(kind: str, bits: int) -> Any:
    number, integer = np.dtype(kind), np.int32 if bits == 32 else np.int64
    names = {"NUMBER": number.type, "ITEMSIZE": number.itemsize, "INTEGER": integer}
    signature = types.void(types.int64, types.int64, types.voidptr)
    return cfunc(signature, **OPTIONS)(specialize(product, **names))


def matmul(
    program: Program, blas: Blas, a: np.ndarray, b: np.ndarray, out: np.ndarray
) -> np.ndarray:
    """out = a b, of two axes; `out` and either a and b or their transposes are contiguous."""
    (rows, inner), columns, kind = a.shape, b.shape[1], out.dtype.char
    job = np.zeros(1, JOB)
    turn_a, lda = _order(b)  # out.T = b.T a.T in Fortran's order
    turn_b, ldb = _order(a)
    by_columns, piece, pieces = cut(columns, rows, inner)
    values = (
        blas.gemm(kind), turn_a, turn_b, columns, rows, inner, b.ctypes.data, lda, a.ctypes.data,
        ldb, out.ctypes.data, max(1, columns), by_columns, piece,
    )  # fmt: skip
    for name, value in zip(INTEGERS, values, strict=True):
        job[name] = value
    program.add(
        compiled(kind, blas.bits).address, job, a, b, out, size=pieces, chunk=int(pieces > 1)
    )
    return out


def cut(m: int, n: int, k: int) -> tuple[bool, int, int]:
    """How (m, n) is cut, by its shape alone: by columns or by rows, how many each, how many."""
    by_columns = n >= m
    length = n if by_columns else m
    pieces = max(1, min(PIECES, m * n * k // LEAST, length // GRAIN))
    piece = -(-length // pieces)
    piece = -(-piece // GRAIN) * GRAIN if pieces > 1 else length
    return by_columns, piece, -(-length // piece)


def _order(array: np.ndarray) -> tuple[bool, int]:
    """Whether its rows are turned, seen from Fortran, and its leading dimension."""
    if array.flags.c_contiguous:
        return False, max(1, array.shape[1])
    assert array.flags.f_contiguous
    return True, max(1, array.shape[0])
