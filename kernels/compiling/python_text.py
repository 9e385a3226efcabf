"""Python source of the loop around a rule, for the engines that compile with Numba.

Numba keeps compiled code on disk for functions of a file, not for closures. So each rule gets a
loop of its own as source text, compiled under the rule's file name (Numba then caches it beside
that file, and drops it when the file changes) and specialized (which gives it a name that is never
that of an older loop).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, Protocol

from ..rule import Rule
from .specialize import specialize


def where(condition: Any, a: Any, b: Any) -> Any:
    """NumPy's of scalars, for compiled code."""
    return a if condition else b


def maximum(a: Any, b: Any) -> Any:
    """numpy.maximum for two scalars: NaN if either is; one comparison less than Numba's own."""
    return a if a != a or a > b else b


def sign(a: Any) -> Any:
    """numpy.sign for a scalar, of the scalar's type."""
    return type(a)(1) if a > 0 else type(a)(-1) if a < 0 else a if a != a else type(a)(0)


def array_names(rule: Rule) -> tuple[str, ...]:
    """The arrays of a rule in order: param, grad, states."""
    return ("p", "g", *rule.state)


def scalar_names(rule: Rule) -> tuple[str, ...]:
    """The coefficients of a rule in order."""
    return rule.scalars


def element_source(rule: Rule, at: str = "[i]") -> str:
    """The statements that update one element, that of array `p` being called `p` followed by `at`.

    `T` is the type that they compute in.
    """
    state = "".join(f", T({name}{at})" for name in rule.updated)
    scalars = "".join(f", {name}" for name in rule.coefficients)
    new = "".join(f"new_{name}, " for name in ("p", *rule.updated))
    text = f"w, d = prelude(T(p{at}), T(g{at}), {', '.join(rule.factors)})\n"
    text += f"{new}= update(w, d{state}{scalars})\n"
    if rule.after is not None:
        average = rule.state[-1]
        text += f"new_{average}, = after(new_p, T({average}{at}), {', '.join(rule.last)})\n"
    return text + "".join(f"{name}{at} = new_{name}\n" for name in ("p", *rule.state))


class Written(Protocol):
    """A rule, or what else is written as functions of scalars."""

    @property
    def name(self) -> str: ...

    @property
    def update(self) -> Callable[..., tuple[Any, ...]]: ...


def build(rule: Written, suffix: str, source: str, namespace: Mapping[str, Any]) -> FunctionType:
    """The function that `source` defines as NAME, as if it stood in the rule's own file."""
    name = f"{rule.name.replace('-', '_')}_{suffix}"
    update: Any = rule.update
    scope: dict[str, Any] = {"__name__": update.__module__}
    exec(compile(source.replace("NAME", name), update.__code__.co_filename, "exec"), scope)
    return specialize(scope[name], **namespace)


def rebound(function: Any, replacements: Mapping[str, Any]) -> FunctionType:
    """A copy of `function` that finds `replacements` in place of its own globals."""
    scope = {**function.__globals__, **replacements}
    return FunctionType(function.__code__, scope, function.__name__)


def indented(depth: int, text: str) -> str:
    """Lines, so many levels further in."""
    return "".join(f"{'    ' * depth}{line}\n" for line in text.splitlines())


def assigned(statements: Iterable[tuple[str, str]]) -> str:
    """A line for each of what is written, and the expression for it."""
    return "".join(f"{target} = {expression}\n" for target, expression in statements)
