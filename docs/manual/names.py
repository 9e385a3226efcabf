"""The public names, as the packages themselves tell them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any

import onepass
from onepass import kernels, nets

MODULES: tuple[ModuleType, ...] = (onepass, kernels, nets)


@dataclass(frozen=True)
class Public:
    """A name that users import.

    Attributes:
        full: with its package, which is also the name of its page.
        thing: what it stands for.
        room: the package it was written in, such as onepass.nets.layers.
    """

    full: str
    thing: Any
    room: str

    @property
    def name(self) -> str:
        return self.full.rpartition(".")[2]

    @property
    def kind(self) -> str:
        """What autodoc calls it."""
        if inspect.isclass(self.thing):
            error = issubclass(self.thing, BaseException)
            return "exception" if error else "class"
        return "function" if inspect.isroutine(self.thing) else "data"

    @property
    def doc(self) -> str:
        """Its docstring; of data the string below it in the source."""
        if self.kind == "data":
            return _below(self.room, self.name)
        return inspect.getdoc(self.thing) or ""


@cache
def public_names() -> dict[str, Public]:
    """By their full names: those of __all__, and the functions that `nets` has beside it."""
    return {each.full: each for module in MODULES for each in _of(module)}


def _of(module: ModuleType) -> Iterator[Public]:
    listed = {*module.__all__, *getattr(module, "_WITH_SCIKIT_LEARN", ())}
    if module is nets:
        listed |= {
            name
            for name, thing in vars(module).items()
            if inspect.isfunction(thing) and thing.__module__.startswith("onepass.nets.")
        }
    for name in sorted(listed):
        thing = getattr(module, name)
        if not inspect.ismodule(thing) and not name.startswith("_"):
            yield Public(f"{module.__name__}.{name}", thing, _room(module, name, thing))


def _room(module: ModuleType, name: str, thing: Any) -> str:
    """The module of a class or function; of data, the one it is imported from."""
    own: str | None = None if isinstance(thing, dict) else getattr(thing, "__module__", None)
    if own and own.startswith("onepass."):
        return own
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and any(each.name == name for each in node.names):
            return f"{module.__name__}.{node.module}"
    raise LookupError(f"{module.__name__}.{name} is imported from nowhere")


def _below(module: str, name: str) -> str:
    from importlib import import_module

    body = ast.parse(inspect.getsource(import_module(module))).body
    for node, after in pairwise(body):
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        if any(isinstance(each, ast.Name) and each.id == name for each in targets):
            value = getattr(getattr(after, "value", None), "value", None)
            return inspect.cleandoc(value) if isinstance(value, str) else ""
    return ""
