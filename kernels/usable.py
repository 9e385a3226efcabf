"""Whether Numba can be used on the CPU, and why not: asked here by all that would use it.

It may be broken (it can't be imported beside this NumPy, or without its LLVM) or switched off, as
people do to debug functions of their own; that may change while a program runs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..backend.failures import NUMBA_OFF, first_line

_REMEDY = "Repair the installation: pip install --force-reinstall numba llvmlite"

_config: Any = None  # numba.config, once it was found that Numba works


def numba_usable() -> bool:
    """Whether it can, told in 30 ns after the first time."""
    if _config is None:
        return not numba_missing()[0]
    return not _config.DISABLE_JIT


def numba_missing() -> tuple[str, str]:
    """(reason, remedy) where Numba can't be used, ("", "") where it can."""
    numba, reason = _imported()
    if numba is None:
        return reason, _REMEDY
    if numba.config.DISABLE_JIT:
        return NUMBA_OFF
    reason = _tried()
    return (reason, _REMEDY) if reason else ("", "")


@cache
def _imported() -> tuple[Any, str]:
    """The module, or None and why not."""
    try:
        import numba
    except Exception as error:  # whatever releases that don't fit together raise
        return None, f"Numba can't be imported ({type(error).__name__}: {first_line(error)})"
    return numba, ""


@cache
def _tried() -> str:
    """Why not even the code that every kernel needs can be compiled; "" if it can."""
    global _config
    try:
        from .crew import board  # noqa: F401
    except Exception as error:  # whatever a broken LLVM raises: the reason is kept
        return f"Numba can't compile ({type(error).__name__}: {first_line(error)})"
    _config = _imported()[0].config
    return ""
