"""Functions to be compiled, with what their global names mean put in."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from .checksum import KERNELS, checksum, sources


def specialize(function: Any, **names: Any) -> FunctionType:
    """A copy of `function` for which `names` are what is given here, to be compiled.

    So it is with the plain functions of kernels that it calls by their names, if they hold one of
    these too: they are compiled into it.

    The copy has a name of its own, made of a checksum of all that it is compiled from: its code and
    the modules reached from it, and `names` with theirs. So code that is kept on disk is never that
    of other names or of older sources, and code that several processes kept can be loaded into one
    (Numba tells functions of one name apart by numbers that it gives anew in each process).
    """
    code, scope = function.__code__, {**function.__globals__, **names}
    for name in code.co_names:
        if name not in names and _holds(scope.get(name), names):
            scope[name] = inlined(scope[name], **names)
    parts = [f"{name}={_told(value)}" for name, value in sorted(names.items())]
    modules = sources(function.__module__), sources(f"{KERNELS}simd.loops")
    unique = f"{function.__name__}_{checksum(code, *modules, *parts)}"
    return FunctionType(code.replace(co_name=unique, co_qualname=unique), scope, unique)


def _holds(function: Any, names: dict[str, Any]) -> bool:
    """Whether it is a plain function of kernels in which one of the names stands."""
    if not isinstance(function, FunctionType) or not function.__module__.startswith(KERNELS):
        return False
    return any(name in names for name in function.__code__.co_names) or _calls(function, names)


def _calls(function: Any, names: dict[str, Any]) -> bool:
    """Whether it calls others that hold one of the names: it is no innermost loop then."""
    scope = function.__globals__
    return any(_holds(scope.get(name), names) for name in function.__code__.co_names)


_inlined: dict[tuple[Any, ...], Any] = {}


def inlined(function: Any, **names: Any) -> Any:
    """`specialize`, compiled into its callers: once in this process for all that ask for it."""
    from ..simd.loops import inline, part  # which imports Numba

    special = specialize(function, **names)
    functions = tuple(value for _, value in sorted(names.items()) if callable(value))
    key = function, special.__name__, functions  # the name tells the other values
    if key not in _inlined:
        _inlined[key] = (part if _calls(function, names) else inline)(special)
    return _inlined[key]


def _told(value: Any) -> str:
    """What tells `value` from others in every process: a function by its name and its sources."""
    name = getattr(value, "__qualname__", getattr(value, "__name__", None))
    if name is None:
        return repr(value)
    module = getattr(value, "__module__", None) or ""
    return f"{module}.{name} {sources(module)}"
