"""Checksums of Python code: machine code that is kept on disk is never that of older code.

They are taken of the bytecode, not of the text: programs may come without their sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from dis import EXTENDED_ARG, opmap
from functools import cache
from importlib.util import find_spec, resolve_name
from types import CodeType
from typing import Any
from zlib import crc32

_IMPORT_NAME, _LOAD_CONST = opmap["IMPORT_NAME"], opmap["LOAD_CONST"]
KERNELS = __package__.rpartition(".")[0] + "."
"""What the names of the modules begin with whose code may be compiled into others."""


def checksum(*parts: str | CodeType) -> str:
    """Eight hexadecimal digits of texts and bytecode."""
    total = 0
    for part in parts:
        for words in [part.encode()] if isinstance(part, str) else _words(part):
            total = crc32(words, total)
    return f"{total:08x}"


def code_of(module: str) -> CodeType:
    """The bytecode of a module by its full name, as its loader has it: from .py, .pyc, zip, ..."""
    spec: Any = find_spec(module)
    code: CodeType = spec.loader.get_code(module)
    return code


@cache
def sources(module: str) -> str:
    """A checksum of `module` and all others that its code can be compiled from, of kernels."""
    return checksum(*(_read(each)[0] for each in reached(module)))


def reached(module: str) -> list[str]:
    """`module` and all that it imports, of kernels; sorted."""
    seen: set[str] = set()
    ahead = {module} if module.startswith(KERNELS) else set()
    while ahead:
        seen |= ahead
        ahead = {found for each in ahead for found in _read(each)[1]} - seen
    return sorted(seen)


@cache
def _read(module: str) -> tuple[str, frozenset[str]]:
    """The checksum of a module, and the modules of kernels that it imports when it is imported."""
    code = code_of(module)
    return checksum(code), frozenset(_imports(module, code))


def _imports(module: str, code: CodeType) -> Iterator[str]:
    spec: Any = find_spec(module)
    for level, name, names in _import_instructions(code):
        origin = resolve_name("." * level + name, spec.parent) if level else ""
        if f"{origin}.".startswith(KERNELS):
            target: Any = find_spec(origin)
            for each in (f"{origin}.{name}" for name in names):
                inside = target.submodule_search_locations is not None
                yield each if inside and find_spec(each) else origin


def _import_instructions(code: CodeType) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(level, module, names) of each import: two constants, then IMPORT_NAME; `dis` takes long."""
    operations, arguments = code.co_code[::2], code.co_code[1::2]

    def before(k: int) -> tuple[int, int]:
        """Where the instruction begins whose last word is k, and its argument."""
        argument, shift = arguments[k], 8
        while k and operations[k - 1] == EXTENDED_ARG:
            k, argument, shift = k - 1, argument | arguments[k - 1] << shift, shift + 8
        return k, argument

    k = operations.find(_IMPORT_NAME)
    while k >= 0:
        start, name = before(k)
        start, names = before(start - 1)
        constant = operations[start - 1] == _LOAD_CONST
        _, level = before(start - 1)  # an integer in the instruction itself from Python 3.14 on
        level = code.co_consts[level] if constant else level
        yield level, code.co_names[name], code.co_consts[names] or ()
        k = operations.find(_IMPORT_NAME, k + 1)


def _words(code: CodeType) -> Iterator[bytes]:
    """What the code does, without where it stands: neither files nor lines."""
    parts = [each for each in code.co_consts if isinstance(each, CodeType)]
    constants = [  # a set's order differs from process to process
        sorted(map(repr, each)) if isinstance(each, frozenset) else each
        for each in code.co_consts
        if not isinstance(each, CodeType)
    ]
    names = code.co_name, code.co_names, code.co_varnames, code.co_freevars
    yield code.co_code + repr((names, constants)).encode()
    for part in parts:
        yield from _words(part)
