"""Runs of memory in Numba code: by their address, and a part of one, in a few instructions.

Numba's own `carray` and slices check and clamp; compiling that takes longer than what it guards.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array


@intrinsic
def address(typing: Any, array: Any) -> Any:
    """The address of an array's first element."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.int64(array), generate


@intrinsic
def record(typing: Any, place: Any, dtype: Any) -> Any:
    """The record of that structured dtype at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        if isinstance(signature.args[0], types.Integer):
            return builder.inttoptr(args[0], kind)
        return builder.bitcast(args[0], kind)

    return dtype.dtype(place, dtype), generate


@intrinsic
def memory(typing: Any, place: Any, size: Any, number: Any) -> Any:
    """The array of `size` numbers of a type at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.return_type
        pointer = context.get_value_type(kind.dtype).as_pointer()
        return _made(context, builder, kind, builder.inttoptr(args[0], pointer), args[1])

    return types.Array(number.dtype, 1, "C")(types.int64, types.intp, number), generate


@intrinsic
def span(typing: Any, array: Any, low: Any, high: Any) -> Any:
    """array[low:high] where 0 <= low <= high <= array.size, of one run of memory."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.return_type
        whole = context.make_array(kind)(context, builder, args[0])
        data = builder.gep(whole.data, [args[1]])
        made = _made(
            context, builder, kind, data, builder.sub(args[2], args[1]), whole.meminfo, whole.parent
        )
        return impl_ret_borrowed(context, builder, kind, made)

    if not isinstance(array, types.Array) or array.ndim != 1 or array.layout != "C":
        return None
    return array(array, types.intp, types.intp), generate


def _made(
    context: Any, builder: Any, kind: Any, data: Any, size: Any, meminfo: Any = None,
    parent: Any = None,
) -> Any:  # fmt: skip
    made = context.make_array(kind)(context, builder)
    itemsize = context.get_constant(
        types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype))
    )
    populate_array(
        made, data=data, shape=[size], strides=[itemsize], itemsize=itemsize, meminfo=meminfo,
        parent=parent,
    )  # fmt: skip
    return made._getvalue()
