"""Numba's cache on disk, trusted only where it is sound.

Numba unpickles what it finds: a file that was cut or garbled (a full disk, a copy that broke off)
ends every program that loads it, or runs as it is. Here whatever can't be read, or is not what was
written for this very function, types, processor and code, counts as not found; it is compiled and
written anew.
"""

from __future__ import annotations

import os
import pickle
from hashlib import sha256
from importlib.util import find_spec
from typing import Any, ClassVar

from numba.core import config
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)
from numba.misc.appdirs import AppDirs

from .checksum import checksum, code_of, sources


class _WithoutSource(_CacheLocator):
    """The folder for a function that came without its source, which Numba keeps nothing of."""

    def __init__(self, function: Any, file: str) -> None:
        self._py_file = file  # for a warning of Numba's
        self._line = function.__code__.co_firstlineno
        self._code = checksum(code_of(function.__module__))
        folder = config.CACHE_DIR or AppDirs(appname="numba", appauthor=False).user_cache_dir
        self._folder = os.path.join(folder, f"{function.__module__}_{self._code}")

    def get_cache_path(self) -> str:
        return self._folder

    def get_source_stamp(self) -> str:
        return self._code

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Any, file: str) -> _WithoutSource | None:
        """None where the source is there, or the folder can't be written: Numba looks further."""
        spec: Any = None if os.path.exists(file) else find_spec(function.__module__)
        if spec is None or spec.loader.get_source(spec.name) is not None:
            return None
        locator = cls(function, file)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator


class _Contents(CompileResultCacheImpl):
    _locator_classes: ClassVar = [_WithoutSource, *CompileResultCacheImpl._locator_classes]


class DiskCache(FunctionCache):
    """The cache of one function; where it fails, code is compiled as if there were none.

    Numba looks for changes in the function's own file; here all that it is compiled from counts,
    and the options that it is compiled with.
    """

    _impl_class = _Contents

    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        super().__init__(function)
        told = sorted((k, sorted(v) if isinstance(v, set) else v) for k, v in options.items())
        stamp = self._impl.locator.get_source_stamp(), sources(function.__module__), told
        self._cache_file = _SealedFiles(self.cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling may raise anything
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:  # the disk is full, or the folder is not writable any more
            return


class _SealedFiles(IndexDataCacheFile):
    """Numba's files, in which machine code stands behind a digest of itself and of its key."""

    def load(self, key: Any) -> Any:
        found = super().load(key)
        if found is None:
            return None
        digest, content = found
        return pickle.loads(content) if digest == self._digest(key, content) else None

    def save(self, key: Any, data: Any) -> None:
        content = self._dump(data)
        sealed = self._digest(key, content), content
        try:
            super().save(key, sealed)
        except OSError:
            raise
        except Exception:  # of an index that can't be unpickled
            self.flush()
            super().save(key, sealed)

    def _digest(self, key: Any, content: bytes) -> bytes:
        return sha256(repr((key, self._source_stamp)).encode() + content).digest()
