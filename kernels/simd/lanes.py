"""Vectors of 16 float32 or 8 float64 in Numba code, for processors that divide slowly.

LLVM makes SIMD code of loops over numbers by itself, but not of instructions that only one kind of
processor has. Adam, RMSprop and AdaGrad wait for the unit that takes roots and divides, which needs
10 cycles for 16 divisions. AVX-512 has estimates of reciprocals too, to 14 bits, by other units;
Newton's steps double the bits:

    r = about 1 / d      r = r + r (1 - d r), once in float32, twice in float64      a / d = a r

which is within 1.6 units in the last place. Where d is zero, infinite or denormal the unit divides
after all, for these elements alone: no result depends on what else is in the vector. Estimated
roots were slower than that unit's: they are more work for the others than they spare it.

Here 1 / d counts as zero where it is denormal: d is above 8e37 then.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

BYTES = 64
AHEAD = 2048  # bytes; 1024 to 4096 are as good, 512 and 8192 gain half as much
NEEDED = frozenset({"+avx512f", "+avx512dq"})
STEPS = {"float32": 1, "float64": 2}  # Newton's
FAR = {"float32": 64.0, "float64": 512.0}  # half of the exponents
UNFIT = 0b111110  # classes of numbers: zeros, infinities, denormal ones


class Lanes(types.Type):  # type: ignore[misc]
    """The type of a vector of `number`s."""

    def __init__(self, number: Any) -> None:
        self.number, self.count = number, BYTES * 8 // number.bitwidth
        super().__init__(name=f"Lanes({number})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        number = manager.lookup(kind.number).get_value_type()
        super().__init__(manager, kind, ir.VectorType(number, kind.count))


class Product(types.Type):  # type: ignore[misc]
    """The type of two vectors that are still to be multiplied: a sum rounds once with them.

    Of two products in a sum the second is not rounded. LLVM would choose one, and may do so one way
    in the middle of an array and another way at its ends.
    """

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        super().__init__(name=f"Product({lanes})")


@register_model(Product)
class _ProductModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        vector = manager.lookup(kind.lanes).get_value_type()
        super().__init__(manager, kind, ir.LiteralStructType([vector, vector]))


def estimates() -> bool:
    """Whether the processor that Numba compiles for has these instructions."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return NEEDED.issubset(features.split(","))


# --- memory ---------------------------------------------------------------------------------------
@intrinsic
def count(typing: Any, array: Any) -> Any:
    """How many elements of an array a vector holds, a constant."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, Lanes(signature.args[0].dtype).count)

    return types.intp(array), generate


@intrinsic
def mask(typing: Any, array: Any, size: Any) -> Any:
    """The first `size` elements of a vector, fewer than it holds."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = args[1].type
        some = builder.sub(builder.shl(word(1), args[1]), word(1))
        return builder.trunc(some, ir.IntType(16))

    return types.uint16(array, types.intp), generate


@intrinsic
def load(typing: Any, array: Any, i: Any) -> Any:
    """The vector that begins at array[i]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, align = _place(context, builder, signature.args[0], *args)
        return builder.load(place, align=align)

    return Lanes(array.dtype)(array, types.intp), generate


@intrinsic
def fetch(typing: Any, array: Any, i: Any) -> Any:
    """Ask for what lies AHEAD of array[i]: hardware does not look into the next page."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, _ = _place(context, builder, signature.args[0], *args)
        word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        ahead = builder.gep(builder.bitcast(place, byte), [word(AHEAD)])
        given = [ahead, word(0), word(3), word(1)]  # to read, to stay in all caches, data
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), given)
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def load_some(typing: Any, array: Any, i: Any, chosen: Any) -> Any:
    """Of the vector that begins at array[i] the elements of a mask, and zeros."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, align = _place(context, builder, signature.args[0], *args[:2])
        vector = context.get_value_type(signature.return_type)
        given = [place, ir.IntType(32)(align), _bits(builder, args[2], vector),
                 ir.Constant(vector, None)]  # fmt: skip
        return _call(builder, f"llvm.masked.load.{_suffix(vector)}.p0", vector, given)

    return Lanes(array.dtype)(array, types.intp, types.uint16), generate


@intrinsic
def store(typing: Any, array: Any, i: Any, vector: Any) -> Any:
    """Write the vector from array[i] on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, align = _place(context, builder, signature.args[0], *args[:2])
        builder.store(_value(builder, args[2]), place, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def store_some(typing: Any, array: Any, i: Any, vector: Any, chosen: Any) -> Any:
    """The same for the elements of a mask."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, align = _place(context, builder, signature.args[0], *args[:2])
        value = _value(builder, args[2])
        given = [value, place, ir.IntType(32)(align), _bits(builder, args[3], value.type)]
        name = f"llvm.masked.store.{_suffix(value.type)}.p0"
        _call(builder, name, ir.VoidType(), given)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.uint16), generate


def _place(context: Any, builder: Any, kind: Any, array: Any, i: Any) -> tuple[Any, int]:
    """Where a vector of an array begins, and what that is a multiple of."""
    data = context.make_array(kind)(context, builder, array).data
    vector = context.get_value_type(Lanes(kind.dtype))
    place = builder.bitcast(builder.gep(data, [i]), vector.as_pointer())
    return place, kind.dtype.bitwidth // 8


def _bits(builder: Any, chosen: Any, vector: Any) -> Any:
    chosen = builder.trunc(chosen, ir.IntType(vector.count))
    return builder.bitcast(chosen, ir.VectorType(ir.IntType(1), vector.count))


def _call(builder: Any, name: str, result: Any, given: Any) -> Any:
    """A call of LLVM's function `name`."""
    kind = ir.FunctionType(result, [each.type for each in given])
    known = builder.module.globals.get(name)
    return builder.call(ir.Function(builder.module, kind, name) if known is None else known, given)


def _suffix(vector: Any) -> str:
    return f"v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"


# --- arithmetic -----------------------------------------------------------------------------------
def _lanes_of(kind: Any) -> Any:
    return kind.lanes if isinstance(kind, Product) else kind


def _arithmetic(operation: Any, combine: Callable[..., Any], gives: Any = _lanes_of) -> None:
    """Let `operation` work on vectors and products, and on one of these and a number."""

    class Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            kinds = [_lanes_of(each) for each in args]
            kind = next((each for each in kinds if isinstance(each, Lanes)), None)
            if kind is None or any(each not in (kind, kind.number) for each in kinds):
                return None
            return signature(gives(kind), *args)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(_lanes_of(signature.return_type))
        return combine(builder, *(_spread(builder, vector, each) for each in args))

    infer_global(operation)(Template)
    for left in (Lanes, Product, types.Float):
        for right in (Lanes, Product, types.Float):
            if types.Float is not left or types.Float is not right:
                lower_builtin(operation, left, right)(lower)


def _spread(builder: Any, vector: Any, value: Any) -> Any:
    """The vector that holds a number everywhere; a vector or product as it is."""
    if value.type == vector or isinstance(value.type, ir.LiteralStructType):
        return value
    nothing, index = ir.Constant(vector, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(nothing, value, index(0))
    zeros = ir.Constant(ir.VectorType(index, vector.count), None)
    return builder.shuffle_vector(first, nothing, zeros)


def _factors(builder: Any, value: Any) -> Any:
    """Both vectors of a product; None of a vector."""
    if not isinstance(value.type, ir.LiteralStructType):
        return None
    return [builder.extract_value(value, k) for k in range(2)]


def _value(builder: Any, value: Any) -> Any:
    """The vector that a product is; a vector as it is."""
    factors = _factors(builder, value)
    return builder.fmul(*factors) if factors else value


def _pair(builder: Any, a: Any, b: Any) -> Any:
    both = ir.Constant(ir.LiteralStructType([a.type, b.type]), ir.Undefined)
    return builder.insert_value(builder.insert_value(both, a, 0), b, 1)


def _fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded once."""
    return _call(builder, f"llvm.fma.{_suffix(x.type)}", x.type, [x, y, z])


def _product(builder: Any, a: Any, b: Any) -> Any:
    return _pair(builder, _value(builder, a), _value(builder, b))


def _sum(builder: Any, a: Any, b: Any) -> Any:
    if factors := _factors(builder, b):
        return _fma(builder, factors[0], factors[1], _value(builder, a))
    if factors := _factors(builder, a):
        return _fma(builder, factors[0], factors[1], b)
    return builder.fadd(a, b)


def _difference(builder: Any, a: Any, b: Any) -> Any:
    if factors := _factors(builder, b):
        return _fma(builder, builder.fneg(factors[0]), factors[1], _value(builder, a))
    if factors := _factors(builder, a):
        return _fma(builder, factors[0], factors[1], builder.fneg(b))
    return builder.fsub(a, b)


def _quotient(builder: Any, a: Any, d: Any) -> Any:
    """a / d, as the product of a and 1 / d."""
    a, d = _value(builder, a), _value(builder, d)
    vector, lanes = d.type, d.type.count
    kind, letter = {16: ("float32", "ps"), 8: ("float64", "pd")}[lanes]

    def all_of(value: float) -> Any:
        return ir.Constant(vector, [value] * lanes)

    every, one = ir.IntType(lanes)(-1), all_of(1.0)
    name = f"llvm.x86.avx512.rcp14.{letter}.512"
    r = _call(builder, name, vector, [d, ir.Constant(vector, None), every])
    minus = builder.fneg(d)
    for _ in range(STEPS[kind]):
        r = _fma(builder, r, _fma(builder, minus, r, one), r)
    name, bits = f"llvm.x86.avx512.fpclass.{letter}.512", ir.VectorType(ir.IntType(1), lanes)
    unfit = _call(builder, name, bits, [d, ir.IntType(32)(UNFIT)])
    some = builder.icmp_unsigned("!=", builder.bitcast(unfit, every.type), every.type(0))
    before = builder.block
    with builder.if_then(some, likely=False):
        far = FAR[kind]  # 1 / d may be above the largest number
        scale = builder.select(
            builder.fcmp_ordered("<", d, one), all_of(2.0**far), all_of(2.0**-far)
        )
        divided = builder.fdiv(one, builder.fmul(d, scale))
        found = builder.select(unfit, builder.fmul(a, scale), a), builder.select(unfit, divided, r)
        after = builder.block
    chosen = []
    for here, there in zip((a, r), found, strict=True):
        phi = builder.phi(vector)
        phi.add_incoming(here, before)
        phi.add_incoming(there, after)
        chosen.append(phi)
    return _pair(builder, *chosen)


_arithmetic(operator.add, _sum)
_arithmetic(operator.sub, _difference)
_arithmetic(operator.mul, _product, Product)
_arithmetic(operator.truediv, _quotient, Product)


@intrinsic
def sqrt(typing: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _value(builder, args[0])
        return _call(builder, f"llvm.sqrt.{_suffix(value.type)}", value.type, [value])

    return _lanes_of(x)(x), generate


@intrinsic
def absolute(typing: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _value(builder, args[0])
        return _call(builder, f"llvm.fabs.{_suffix(value.type)}", value.type, [value])

    return _lanes_of(x)(x), generate


@intrinsic
def sign(typing: Any, x: Any) -> Any:
    """-1, 0 or 1; NaN where x is."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x = _value(builder, args[0])
        zero, one, minus = (ir.Constant(x.type, [k] * x.type.count) for k in (0.0, 1.0, -1.0))
        found = builder.select(builder.fcmp_ordered("ord", x, x), zero, x)
        found = builder.select(builder.fcmp_ordered("<", x, zero), minus, found)
        return builder.select(builder.fcmp_ordered(">", x, zero), one, found)

    return _lanes_of(x)(x), generate


@intrinsic
def maximum(typing: Any, a: Any, b: Any) -> Any:
    """Of two vectors, or of a vector and a number; NaN where either is."""
    kind = _lanes_of(b if isinstance(a, types.Float) else a)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(signature.return_type)
        a, b = (_value(builder, _spread(builder, vector, each)) for each in args)
        larger = builder.select(builder.fcmp_ordered(">", a, b), a, b)
        return builder.select(builder.fcmp_ordered("ord", a, a), larger, a)

    return kind(a, b), generate
