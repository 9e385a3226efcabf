"""The formulas of state formats in the order in which a compiler must meet them."""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

from .. import words
from ..layout import FORMULAS


@cache
def in_order() -> tuple[Any, ...]:
    """What statements of a layout call, each function after those that it calls itself."""
    found: dict[str, Any] = {}

    def add(function: Any) -> None:
        for name in function.__code__.co_names:
            called = function.__globals__.get(name)
            if isinstance(called, FunctionType) and called.__module__ != words.__name__:
                add(called)
        found[function.__name__] = function

    for each in FORMULAS:
        add(each)
    return tuple(found.values())
