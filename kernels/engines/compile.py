"""Compiling with Numba's on-disk cache, or without it where nothing can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def njit(signature: Any = None, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` whose machine code is kept on disk where a folder for it can be written.

    Numba takes the folder of the source, a user's cache folder, or NUMBA_CACHE_DIR. Where it finds
    none (a read-only install without a home), code is compiled once in each process instead.
    """
    return _cached(numba.njit, signature, options)


def cfunc(signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.cfunc`, kept on disk in the same way."""
    return _cached(numba.cfunc, signature, options)


def _cached(
    compiler: Callable[..., Any], signature: Any, options: dict[str, Any]
) -> Callable[[Callable[..., Any]], Any]:
    arguments = () if signature is None else (signature,)

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return compiler(*arguments, cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            return compiler(*arguments, **options)(function)

    return decorate
