"""Compiling with Numba: one thread at a time, and kept on disk where something can be written."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, TypeVar

import numba
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.sigutils import normalize_signature

from ...backend import EngineUnavailableError
from ...backend.failures import NUMBA_OFF
from .disk_cache import DiskCache

Built = TypeVar("Built", bound=Callable[..., Any])


@contextmanager
def _compiling() -> Iterator[None]:
    """Nobody else compiles, and nothing looks for garbage: Numba keeps a hundred thousand objects,
    and looking through them again and again takes a fifteenth of the time."""
    with global_compiler_lock:
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()


def njit(signature: Any = None, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` whose machine code is kept on disk where a folder for it can be written.

    Numba takes the folder of the source, a user's cache folder, or NUMBA_CACHE_DIR. Where it finds
    none (a read-only install without a home), code is compiled once in each process instead.

    Raises:
        EngineUnavailableError: by what it returns; Numba's compiler is switched off.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        _check_switched_on()
        with _compiling():  # numba.njit with a signature counts functions without the lock
            compiled = numba.njit(**options, no_cfunc_wrapper=True)(function)
            _keep_on_disk(compiled, function, options)
            if signature is not None:
                compiled.compile(signature)
                compiled.disable_compile()
        return compiled

    return decorate


def cfunc(signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.cfunc`, kept on disk in the same way."""

    def decorate(function: Callable[..., Any]) -> Any:
        _check_switched_on()
        with _compiling():
            compiled = CFunc(function, normalize_signature(signature), {}, options)
            _keep_on_disk(compiled, function, options)
            compiled.compile()
        return compiled

    return decorate


def once(build: Built) -> Built:
    """`functools.cache` of a function that compiles: threads that call it at once build one.

    It is as quick as `functools.cache` for what is there.
    """
    built = cache(build)

    @cache
    @wraps(build)
    def one_at_a_time(*arguments: Any) -> Any:
        with _compiling():
            return built(*arguments)

    def cache_clear() -> None:
        built.cache_clear()
        forget()

    known: Any = one_at_a_time
    forget, known.cache_clear = known.cache_clear, cache_clear
    return known


def _check_switched_on() -> None:
    if numba.config.DISABLE_JIT:
        reason, remedy = NUMBA_OFF
        raise EngineUnavailableError(f"engine 'numba' can't compile: {reason}. {remedy}")


def _keep_on_disk(compiled: Any, function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Give what compiles `function` a cache, if there is a folder for it and a file to watch."""
    try:
        compiled._cache = DiskCache(function, options)
    except Exception:  # RuntimeError: no folder; others of sources that are not there, as in a zip
        return
