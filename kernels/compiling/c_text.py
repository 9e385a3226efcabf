"""Python statements as C text, so that CUDA C code and the formulas can't drift apart: those of a
rule, of formulas of numbers, and of annotated functions of words and numbers."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from ..rule import Rule

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_OPERATORS |= {ast.BitAnd: "&", ast.BitXor: "^", ast.RShift: ">>"}  # of integers
_COMPARISONS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}
_FUNCTIONS = {  # name, arguments
    ("absolute", 1): "fabs",
    ("exp", 1): "exp",
    ("log1p", 1): "log1p",
    ("maximum", 2): "onepass_maximum",
    ("normal_cdf", 1): "onepass_normal_cdf",
    ("sign", 1): "onepass_sign",
    ("sqrt", 1): "sqrt",
    ("tanh", 1): "tanh",
}

PREAMBLE = """
// NaN if either is NaN, as numpy.maximum; fmax would drop it.
template <typename C> __device__ __forceinline__ C onepass_maximum(C a, C b) {
    return (a != a || a > b) ? a : b;
}
// NaN if a is, as numpy.sign.
template <typename C> __device__ __forceinline__ C onepass_sign(C a) {
    return a > C(0) ? C(1) : a < C(0) ? C(-1) : a != a ? a : C(0);
}
"""


NO_SOURCES = (
    "its CUDA code is told from this library's own source files, which are not here",
    "Ship the .py files too; with PyInstaller, module_collection_mode={'onepass': 'pyz+py'}",
)


@cache
def sources_missing() -> tuple[str, str]:
    """(reason, remedy) where there is nothing to translate: a program packed without sources."""
    try:
        inspect.getsource(operation)
    except OSError:
        return NO_SOURCES
    return "", ""


def operation(rule: Rule, compute: str) -> str:
    """The body that updates one element: reads and writes `p`, `g` and the states by name.

    `compute` is the C type of the arithmetic, "float" or "double"; what is stored is converted to
    the arrays' own type. Coefficients are named as in the rule and have type `compute`.
    """
    names = ("p", "g", *rule.state)
    local = {name: f"{name}_" for name in names}
    lines = [f"{compute} {name}_ = {name};" for name in names]
    lines += ["{", *_statements(rule.prelude, ("w", "d"), local, compute)]
    lines += ["p_ = w;", "g_ = d;", "}"]
    lines += _statements(rule.update, ("p", *rule.updated), local, compute)
    if rule.after is not None:
        lines += ["{", *_statements(rule.after, rule.state[-1:], local, compute), "}"]
    lines += [f"{name} = {name}_;" for name in names if name != "g"]
    return "\n".join(lines)


def device_function(function: Callable[..., Any], compute: str) -> str:
    """A Python function of numbers as a C function of the same name.

    It takes the same arguments, those that it returns by reference, and then by reference the
    other names that it returns.
    """
    returned = names_returned(function)
    arguments = [argument.arg for argument in _definition(function).args.args]
    parameters = [f"{compute} {'&' if name in returned else ''}{name}" for name in arguments]
    parameters += [f"{compute} &{name}" for name in returned if name not in arguments]
    lines = _statements(function, returned, {name: name for name in returned}, compute)
    body = "\n".join(f"    {line}" for line in lines)
    name = function.__name__
    return f"__device__ __forceinline__ void {name}({', '.join(parameters)}) {{\n{body}\n}}\n"


def names_returned(function: Callable[..., Any]) -> tuple[str, ...]:
    """What a function of numbers calls what it returns."""
    match _definition(function).body[-1]:
        case ast.Return(value=ast.Tuple(elts=elements)) if all(
            isinstance(element, ast.Name) for element in elements
        ):
            return tuple(element.id for element in elements if isinstance(element, ast.Name))
        case last:
            raise _unsupported(function, last, "; expected a return of names at the end")


def number_function(
    function: Callable[..., Any],
    compute: str,
    name: str,
    fixed: Mapping[str, float | tuple[float, ...]],
) -> str:
    """A Python function that returns one number as the C function `name`.

    Arguments that are `fixed` are constants in it, and tuples arrays, over which it may go in one
    loop, `for k in range(1, len(array))`, of one assignment.
    """
    definition = _definition(function)
    arguments = [each.arg for each in definition.args.args]
    known, lines = set(arguments), []
    for each, number in fixed.items():
        several = isinstance(number, tuple)
        numbers = ", ".join(map(repr, number if isinstance(number, tuple) else (number,)))
        given = f"[] = {{{numbers}}}" if several else f" = {numbers}"
        lines.append(f"const {compute} {each}{given};")
    for node in definition.body[ast.get_docstring(definition) is not None :]:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                new = "" if target in known else f"{compute} "
                known.add(target)
                lines.append(f"{new}{target} = {_expression(function, value, {})};")
            case ast.For(
                target=ast.Name(id=k),
                iter=ast.Call(args=[_, ast.Call(args=[ast.Name(id=array)])]),
                body=[ast.Assign(targets=[ast.Name(id=target)], value=value)],
            ):
                count = f"sizeof({array}) / sizeof({compute})"
                lines += ["#pragma unroll", f"for (int {k} = 1; {k} < {count}; ++{k})"]
                lines.append(f"    {target} = {_expression(function, value, {})};")
            case ast.Return(value=ast.expr() as value):
                lines.append(f"return {_expression(function, value, {})};")
            case _:
                raise _unsupported(function, node)
    body = "".join(f"    {line}\n" for line in lines)
    taken = ", ".join(f"{compute} {each}" for each in arguments if each not in fixed)
    return f"__device__ __forceinline__ {compute} {name}({taken}) {{\n{body}}}\n"


TYPES = {"Word": "unsigned int", "Number": "float"}
"""What C calls the annotations of functions that `typed_function` takes."""

_LITERALS = {np.uint32: "{:#x}u", np.float32: "{!r}f"}


def typed_function(function: Callable[..., Any]) -> str:
    """A Python function of words and numbers as a C function, called `called(its name)`.

    Arguments and what is returned are annotated. The function holds assignments to names and one
    return; expressions are + - * and calls by name, of other such functions; its module's constants
    of type uint32 and float32 are literals.
    """
    definition, constants = _definition(function), function.__globals__
    parameters = [f"{_type(function, each.annotation)} {each.arg}" for each in definition.args.args]
    known, lines = {each.arg for each in definition.args.args}, []
    for node in definition.body[ast.get_docstring(definition) is not None :]:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target not in known:
                lines.append(f"const auto {target} = {_typed(function, value, known, constants)};")
                known.add(target)
            case ast.Return(value=ast.expr() as value):
                lines.append(f"return {_typed(function, value, known, constants)};")
            case _:
                raise _not_typed(function, node)
    body = "".join(f"    {line}\n" for line in lines)
    returned = _type(function, definition.returns)
    head = f"{returned} {called(function.__name__)}({', '.join(parameters)})"
    return f"__device__ __forceinline__ {head} {{\n{body}}}\n"


def typed_expression(text: str) -> str:
    """An expression of such functions, of names and of what stands at a place of an array."""
    node = ast.parse(text, mode="eval").body
    return _typed(typed_expression, node, {*_names(node)}, {})


def called(function: str) -> str:
    """What C calls a function of words and numbers: some have names that mean more in C."""
    return f"onepass_{function}"


def _type(function: Callable[..., Any], annotation: ast.expr | None) -> str:
    match annotation:
        case ast.Name(id=name) if name in TYPES:
            return TYPES[name]
    raise TypeError(
        f"{function.__module__}.{function.__name__} can't be translated to C; expected each "
        f"argument and what is returned to be annotated as {' or '.join(TYPES)}"
    )


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _typed(
    function: Callable[..., Any], node: ast.expr, known: set[str], constants: Mapping[str, Any]
) -> str:
    def of(each: ast.expr) -> str:
        return _typed(function, each, known, constants)

    match node:
        case ast.Name(id=name) if name in known:
            return name
        case ast.Name(id=name) if type(constants.get(name)) in _LITERALS:
            value = constants[name]
            return _LITERALS[type(value)].format(value.item())
        case ast.Subscript(value=array, slice=place):
            return f"{of(array)}[{of(place)}]"
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as op, right=right):
            return f"({of(left)} {_OPERATORS[type(op)]} {of(right)})"
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return f"{called(name)}({', '.join(map(of, args))})"
    raise _not_typed(function, node)


def _not_typed(function: Callable[..., Any], node: ast.AST) -> TypeError:
    return TypeError(
        f"{function.__module__}.{function.__name__}: `{ast.unparse(node)}` can't be translated to "
        "C; such a function holds assignments to new names, + - *, calls by name, constants of "
        "type uint32 and float32, and one return"
    )


def _definition(function: Callable[..., Any]) -> ast.FunctionDef:
    definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(definition, ast.FunctionDef)
    return definition


def _statements(
    function: Callable[..., Any],
    returned: tuple[str, ...],
    renamed: Mapping[str, str],
    compute: str,
) -> list[str]:
    """Each assignment of `function` as a C statement; names not in `renamed` are declared.

    The function must end by returning the names `returned`, which the caller then finds as they
    are: the return adds no statement.
    """
    definition = _definition(function)
    arguments = {argument.arg for argument in definition.args.args}
    known = {*arguments, *renamed}
    *assignments, last = definition.body
    if assignments and ast.get_docstring(definition) is not None:
        del assignments[0]
    names = ", ".join(returned) + ("," if len(returned) == 1 else "")
    if ast.dump(last) != ast.dump(ast.parse(f"return ({names})").body[0]):
        raise _unsupported(function, last, f"; expected `return {names}` at the end")
    lines = []
    for node in assignments:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if (
                target not in arguments or target in renamed  # a coefficient is constant
            ):
                declaration = "" if target in known else f"{compute} "
                known.add(target)
                name = renamed.get(target, target)
                lines.append(f"{declaration}{name} = {_expression(function, value, renamed)};")
            case _:
                raise _unsupported(function, node)
    return lines


def _expression(function: Callable[..., Any], node: ast.expr, renamed: Mapping[str, str]) -> str:
    match node:
        case ast.Name(id=name):
            return renamed.get(name, name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            a, b = (_expression(function, side, renamed) for side in (left, right))
            return f"({a} {_OPERATORS[type(op)]} {b})"
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Name() | ast.Constant() as place):
            return f"{name}[{ast.unparse(place)}]"
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"(-{_expression(function, operand, renamed)})"
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if (
            name,
            len(args),
        ) in _FUNCTIONS:
            values = ", ".join(_expression(function, value, renamed) for value in args)
            return f"{_FUNCTIONS[name, len(args)]}({values})"
        case ast.Call(
            func=ast.Name(id="where"),
            args=[ast.Compare(left=left, ops=[op], comparators=[right]), chosen, other],
            keywords=[],
        ) if type(op) in _COMPARISONS:
            a, b, c, d = (
                _expression(function, each, renamed) for each in (left, right, chosen, other)
            )
            return f"({a} {_COMPARISONS[type(op)]} {b} ? {c} : {d})"
    raise _unsupported(function, node)


def _unsupported(function: Callable[..., Any], node: ast.AST, more: str = "") -> TypeError:
    return TypeError(
        f"{function.__module__}.{function.__name__}: `{ast.unparse(node)}` can't be translated to "
        "C; a formula holds assignments to names, + - * /, & ^ >> of integers, absolute, exp, "
        "log1p, maximum, normal_cdf, sign, sqrt, tanh, where with one comparison, and one return "
        "of a tuple" + more
    )
