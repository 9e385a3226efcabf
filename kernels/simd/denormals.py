"""Numbers next to zero count as zero in the compiled loops: they would take many times as long.

The averages of a gradient that stays away halve every few steps until they are denormal (below
1.2e-38 in float32), where x86 cores leave SIMD for microcode: after an epoch of MNIST the momenta
of pixels that are hardly ever set are there, and slow Adam down. What is lost is far below one
rounding of any parameter above 1e-30.

A rule that divides by the root of such an average plus eps loses nothing either, as long as the
root of the largest one (1.1e-19 in float32) is too small to change eps when added. Where eps is
below that (3.6e-12, in float64 2.7e-138), the loop takes numbers next to zero for what they are, at
their price.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_FLUSH = 0x8040  # MXCSR: flush results (bit 15) and read operands (bit 6) as zero
_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


def _register(builder: Any, name: str, place: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, byte)])


def _flush(builder: Any, bits: Any) -> Any:
    """Set these bits of the register; what it held before."""
    place = cgutils.alloca_once(builder, ir.IntType(32))
    _register(builder, "stmxcsr", place)
    before = builder.load(place)
    builder.store(builder.or_(before, bits), place)
    _register(builder, "ldmxcsr", place)
    return before


@intrinsic
def flush_denormals(typing: Any) -> Any:
    """From here on, on this thread; returns what `restore_denormals` wants back."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        # other processors take denormals at full speed
        return _flush(builder, word(_FLUSH)) if _X86 else word(0)

    return types.int32(), generate


@intrinsic
def flush_denormals_above(typing: Any, floor: Any) -> Any:
    """The same, if no root of a denormal number changes `floor` when it is added."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        if not _X86:
            return word(0)
        least = context.get_constant(floor, least_floor(str(floor)))
        enough = builder.fcmp_ordered(">=", args[0], least)
        return _flush(builder, builder.select(enough, word(_FLUSH), word(0)))

    return types.int32(floor), generate


def least_floor(dtype: str) -> float:
    """The least number that the root of no denormal number of its dtype changes when added."""
    info = np.finfo(dtype)
    return 4.0 * float(info.tiny) ** 0.5 / float(info.eps)  # a quarter: half of the narrowest gap


@intrinsic
def restore_denormals(typing: Any, before: Any) -> Any:
    """Go back to what held before `flush_denormals`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _X86:
            place = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(args[0], place)
            _register(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), generate
