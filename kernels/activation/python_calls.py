"""Formulas for Numba's engines, on CPU and GPU: all with the same arguments, told by places."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from ..compiling import python_text
from .formula import CONSTANTS, FORMULAS, KINDS, PLACES, call


class _Written(NamedTuple):
    name: str
    update: Callable[..., tuple[Any, ...]]


def with_places(
    name: str,
    number: Callable[[float], Any],
    compiled: Callable[[Callable[..., Any]], Any],
) -> FunctionType:
    """A formula of FORMULAS as FORMULA(z, first, second), a gradient as
    FORMULA(dy, y, bias, first, second), where y is x of kinds that are told from it; to be
    compiled. What a kind doesn't need costs nothing, once that is done.

    Args:
        number: makes a number of the computation.
        compiled: compiles a formula.
    """
    given: tuple[str, ...]
    kind, formula = name.removesuffix("_gradient"), FORMULAS[name]
    if name in KINDS:
        head, given = "z", ("z",)
    else:
        head, given = "dy, y, bias", ("dy", "y + bias" if KINDS[kind].from_x else "y")
    text = f"def NAME({head}, {', '.join(PLACES)}):\n    return formula({call(name, given)})\n"
    constants = {each: number(value) for each, value in CONSTANTS.items()}
    written = _Written(f"activation_{name}", formula)
    return python_text.build(written, "places", text, {**constants, "formula": compiled(formula)})
