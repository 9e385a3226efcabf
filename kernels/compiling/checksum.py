"""A checksum of Python code: machine code that is kept on disk is never that of older code.

It is taken of the bytecode, not of the text: programs may come without their sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import Any
from zlib import crc32


def checksum(*parts: str | CodeType | ModuleType | Callable[..., Any]) -> str:
    """Eight hexadecimal digits of texts, functions, whole modules and bytecode."""
    total = 0
    for part in parts:
        if isinstance(part, str):
            total = crc32(part.encode(), total)
            continue
        if isinstance(part, ModuleType):
            part = code_of(part.__name__)
        code: CodeType = part if isinstance(part, CodeType) else part.__code__
        for words in _words(code):
            total = crc32(words.encode(), total)
    return f"{total:08x}"


def code_of(module: str) -> CodeType:
    """The bytecode of a module by its full name, as its loader has it: from .py, .pyc, zip, ..."""
    spec: Any = find_spec(module)
    code: CodeType = spec.loader.get_code(module)
    return code


def _words(code: CodeType) -> Iterator[str]:
    """What the code does, without where it stands: neither files nor lines."""
    yield repr((code.co_name, code.co_code, code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _words(constant)
        elif isinstance(constant, frozenset):  # whose order differs from process to process
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)
