"""The primitives of state formats in LLVM's language, for Numba on the CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

_WORD, _NUMBER = ir.IntType(32), ir.FloatType()
Build = Callable[..., Any]

WORD, NUMBER = "uint32", "float32"


def _shorter(comparison: str) -> Build:
    def build(builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.icmp_unsigned(comparison, a, b), a, b)

    return build


PRIMITIVES: dict[str, tuple[str, tuple[str, ...], Build]] = {
    "bits": (WORD, (NUMBER,), lambda builder, x: builder.bitcast(x, _WORD)),
    "number": (NUMBER, (WORD,), lambda builder, w: builder.bitcast(w, _NUMBER)),
    "real": (NUMBER, (WORD,), lambda builder, w: builder.sitofp(w, _NUMBER)),
    "whole": (WORD, (NUMBER,), lambda builder, x: builder.fptosi(x, _WORD)),
    "plus": (WORD, (WORD, WORD), lambda builder, a, b: builder.add(a, b)),
    "minus": (WORD, (WORD, WORD), lambda builder, a, b: builder.sub(a, b)),
    "times": (WORD, (WORD, WORD), lambda builder, a, b: builder.mul(a, b)),
    "both": (WORD, (WORD, WORD), lambda builder, a, b: builder.and_(a, b)),
    "either": (WORD, (WORD, WORD), lambda builder, a, b: builder.or_(a, b)),
    "exclusive": (WORD, (WORD, WORD), lambda builder, a, b: builder.xor(a, b)),
    "left": (WORD, (WORD, WORD), lambda builder, a, by: builder.shl(a, by)),
    "right": (WORD, (WORD, WORD), lambda builder, a, by: builder.lshr(a, by)),
    "smaller": (WORD, (WORD, WORD), _shorter("<")),
    "larger": (WORD, (WORD, WORD), _shorter(">")),
    "unless_nan": (
        WORD,
        (NUMBER, WORD, WORD),
        lambda builder, x, a, b: builder.select(builder.fcmp_ordered("ord", x, x), a, b),
    ),
}
"""Of each: what it returns, what it takes, and how it is built. `word` is beside them, since it
takes words of several widths."""


def intrinsics(intrinsic: Any, types: Any) -> dict[str, Any]:
    """All of them, for Numba's `intrinsic` and `types` of one kind of device."""
    kinds = {WORD: types.uint32, NUMBER: types.float32}

    def made(returned: str, taken: tuple[str, ...], build: Build) -> Any:
        signature = kinds[returned](*(kinds[each] for each in taken))

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return build(builder, *args)

        def one(typing: Any, a: Any) -> Any:
            return signature, generate

        def two(typing: Any, a: Any, b: Any) -> Any:
            return signature, generate

        def three(typing: Any, a: Any, b: Any, c: Any) -> Any:
            return signature, generate

        return intrinsic((one, two, three)[len(taken) - 1])

    @intrinsic
    def word(typing: Any, stored: Any) -> Any:
        """What an array holds, with its sign if it has one."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            widen = builder.sext if signature.args[0].signed else builder.zext
            return args[0] if args[0].type == _WORD else widen(args[0], _WORD)

        return types.uint32(stored), generate

    return {"word": word, **{name: made(*each) for name, each in PRIMITIVES.items()}}
