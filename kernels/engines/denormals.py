"""Numbers next to zero count as zero in the compiled loops: they would take many times as long.

The averages of a gradient that stays away halve every few steps until they are denormal (below
1.2e-38 in float32), where x86 cores leave SIMD for microcode: after an epoch of MNIST the momenta
of pixels that are hardly ever set are there, and slow Adam down. What is lost is far below one
rounding of any parameter above 1e-30.
"""

from __future__ import annotations

import platform
from typing import Any

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


@intrinsic
def flush_denormals(typing: Any) -> Any:
    """From here on, on this thread; returns what `restore_denormals` wants back."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        if not _X86:  # other processors take denormals at full speed
            return word(0)
        place = cgutils.alloca_once(builder, word)
        _register(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, word(_FLUSH)), place)
        _register(builder, "ldmxcsr", place)
        return before

    return types.int32(), generate


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
