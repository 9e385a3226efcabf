"""Loads and stores of arrays that are known to be apart, so that no loop tests whether they are.

LLVM compares the addresses of all arrays of a loop before it takes the SIMD way, each time, and
with more than a few pairs it has no SIMD way at all. These loads and stores say (by scopes of
aliases) that what is read, the result, and each of the sums that are added to have no memory in
common. That must be so for all of them that come together in one compiled function: where a result
replaces what is read, store it elsewhere first, and copy it by plain loops.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .bfloat16 import from_bfloat16, to_bfloat16
from .half import rounded, widened

MOST = 4
_RESULT = "result"
_SUMS = tuple(f"sums{k}" for k in range(MOST))


def _tell(builder: Any, instruction: Any, scope: str = "") -> Any:
    """Put an instruction into a scope, apart from the others."""
    module = builder.module
    domain = module.add_metadata([ir.MetaDataString(module, "onepass")])
    for kind, names in (("alias.scope", [scope]), ("noalias", [_RESULT, *_SUMS])):
        chosen = [name for name in names if name and (kind == "alias.scope" or name != scope)]
        if chosen:
            scopes = [
                module.add_metadata([ir.MetaDataString(module, name), domain]) for name in chosen
            ]
            instruction.set_metadata(kind, module.add_metadata(scopes))
    return instruction


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]], inbounds=True)


@intrinsic
def _read(typing: Any, array: Any, i: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _tell(builder, builder.load(_place(context, builder, signature, args)))

    return array.dtype(array, types.intp), generate


def _adder(scope: str) -> Any:
    @intrinsic
    def add(typing: Any, array: Any, i: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = _place(context, builder, signature, args)
            before = _tell(builder, builder.load(place), scope)
            _tell(builder, builder.store(builder.fadd(before, args[2]), place), scope)
            return context.get_dummy_value()

        return types.void(array, types.intp, array.dtype), generate

    return add


ADDERS = tuple(map(_adder, _SUMS))
"""`add(array, i, value)`: array[i] += value, of one of several arrays of sums each."""


def load(array: Any, i: int) -> Any:
    """array[i] of what is read, as half.py's `load`; a scalar as it is."""
    raise NotImplementedError("compiled code only")


def store(array: Any, i: int, value: Any) -> None:
    """array[i] = value of the result, as half.py's `store`."""
    raise NotImplementedError("compiled code only")


@overload(load)
def _load(array, i):
    if isinstance(array, types.Number):
        return lambda array, i: array
    if array.dtype == types.uint16:
        return lambda array, i: widened(_read(array, i))
    if array.dtype == types.int16:
        return lambda array, i: from_bfloat16(_read(array, i))
    return lambda array, i: _read(array, i)


@intrinsic
def _write(typing: Any, array: Any, i: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(context, builder, signature, args)
        _tell(builder, builder.store(args[2], place), _RESULT)
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


@overload(store)
def _store(array, i, value):
    if array.dtype == types.uint16:
        return lambda array, i, value: _write(array, i, rounded(value))
    if array.dtype == types.int16:
        return lambda array, i, value: _write(array, i, to_bfloat16(value))
    return lambda array, i, value: _write(array, i, value)
