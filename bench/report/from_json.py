"""Dataclasses from JSON: `from_json` turns back what `asdict` made, and checks every field's type.

Fields may be str, int, float, bool, Any, other dataclasses, T | None, list[T], dict[str, T] and
tuple[T, ...]. A field with a default may be missing, as in files written before it was added; one
that holds a list, a tuple or a dict may not.
"""

from __future__ import annotations

import reprlib
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
_WORDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
_WORDS |= {NoneType: "null", list: "a list", tuple: "a list", dict: "an object"}


def from_json(content: object, kind: type[T], name: str) -> T:
    """`content` as the dataclass `kind`, or as any other type that a field may have.

    Args:
        content: what `json.loads` gave.
        kind: the type wanted.
        name: of `content` in messages, such as "report".

    Raises:
        ValueError: a field is missing, unknown or of another type; the message names it.
    """
    made: T = _made(content, kind, name)
    return made


def _made(content: Any, kind: Any, name: str) -> Any:
    if kind is Any:
        return content
    if is_dataclass(kind):
        return _dataclass(_checked(content, dict, name), kind, name)
    if isinstance(kind, UnionType):
        inner, *_ = (one for one in get_args(kind) if one is not NoneType)
        return None if content is None else _made(content, inner, name)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is dict:
        pairs = _checked(content, dict, name).items()
        return {key: _made(value, inner[1], f"{name}[{key!r}]") for key, value in pairs}
    if origin in (list, tuple):
        values = enumerate(_checked(content, list, name))
        return origin(_made(value, inner[0], f"{name}[{k}]") for k, value in values)
    return _checked(content, kind, name)


def _dataclass(content: dict[str, Any], kind: Any, name: str) -> Any:
    hints, made = _hints(kind), {}
    for field in fields(kind):
        if field.name in content:
            made[field.name] = _made(content[field.name], hints[field.name], f"{name}.{field.name}")
        elif field.default is MISSING or get_origin(hints[field.name]) in (list, tuple, dict):
            raise ValueError(f"{name} has no {field.name!r}")
    if unknown := content.keys() - made.keys():
        raise ValueError(f"{name} has {min(unknown)!r}, which is unknown")
    return kind(**made)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of its fields: working them out takes longer than one entry of a list does."""
    return get_type_hints(kind)


def _checked(content: Any, kind: Any, name: str) -> Any:
    """A whole number counts as a number too; true and false are no numbers."""
    kinds = (float, int) if kind is float else (kind,)
    if type(content) not in kinds:
        raise ValueError(f"{name} is {reprlib.repr(content)}; expected {_WORDS[kind]}")
    return content
