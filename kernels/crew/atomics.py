"""Atomic operations on an int64 array, and a call through an address, for Numba code.

Numba has them on the GPU only; on the CPU each is one instruction of LLVM.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_ORDER = "seq_cst"


def _element(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """array[index]"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_element(context, builder, signature, args), _ORDER, 8)

    return types.int64(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index] = value"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _element(context, builder, signature, args), _ORDER, 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), generate


@intrinsic
def add(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index] += value; returns what was there before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element(context, builder, signature, args)
        return builder.atomic_rmw("add", pointer, args[2], _ORDER)

    return types.int64(array, types.intp, types.int64), generate


@intrinsic
def exchange(typing: Any, array: Any, index: Any, expected: Any, value: Any) -> Any:
    """Set array[index] to `value` if it is `expected`; returns whether it was."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element(context, builder, signature, args)
        result = builder.cmpxchg(pointer, args[2], args[3], _ORDER, _ORDER)
        return builder.extract_value(result, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), generate


@intrinsic
def call(typing: Any, address: Any, low: Any, high: Any, job: Any) -> Any:
    """Call the C function void(int64 low, int64 high, void *job) at `address`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        int64, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [int64, int64, pointer]).as_pointer()
        function = builder.inttoptr(args[0], kind)
        builder.call(function, [args[1], args[2], builder.inttoptr(args[3], pointer)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


@intrinsic
def pointer(typing: Any, address: Any) -> Any:
    """An address as a void pointer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate
