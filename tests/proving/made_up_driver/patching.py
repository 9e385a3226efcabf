"""The CUDA runtime inside CuPy's extension modules, led to the made-up driver.

CuPy links that runtime statically, so no library can stand in for it. But each module keeps its
symbols: where a function of the runtime begins, a jump to the driver's is written.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import subprocess

from .libraries import libcuda

MISSING = "" if platform.machine() == "x86_64" else "the jumps are written for x86-64 processors"
_CALL_BYTES = 32  # of the longest jump; no function of the runtime is shorter
_names: list[ctypes.Array[ctypes.c_char]] = []  # of refused functions: kept alive


def lead_to_the_driver(path: str) -> int:
    """Patch the loaded extension module of this file; how many functions it had."""
    listed = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    functions = re.findall(r"^([0-9a-f]+) [tT] (cuda[A-Z]\w*)$", listed, re.M)
    start = _loaded_at(path)
    for offset, name in functions:
        _write(start + int(offset, 16), _jump(name))
    return len(functions)


def _jump(name: str) -> bytes:
    """Machine code that goes to the driver's function; to its refusal where there is none."""
    driver = libcuda()
    if (function := getattr(driver, name, None)) is not None:
        return b"\x48\xb8" + _address(function) + b"\xff\xe0"  # mov rax, function; jmp rax
    _names.append(ctypes.create_string_buffer(name.encode()))
    told = ctypes.addressof(_names[-1]).to_bytes(8, "little")
    return b"\x48\xbf" + told + b"\x48\xb8" + _address(driver.made_up_refuse) + b"\xff\xe0"


def _address(function: ctypes._FuncPointer) -> bytes:
    place = ctypes.cast(function, ctypes.c_void_p).value
    assert place is not None
    return place.to_bytes(8, "little")


def _write(place: int, code: bytes) -> None:
    """`code` in the place of what the processor finds there."""
    change = ctypes.CDLL(None, use_errno=True).mprotect
    change.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    page = place & -mmap.PAGESIZE
    bytes_ = place + _CALL_BYTES - page
    if change(page, bytes_, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "the code of CuPy's modules can't be changed here")
    ctypes.memmove(place, code, len(code))
    change(page, bytes_, mmap.PROT_READ | mmap.PROT_EXEC)


def _loaded_at(path: str) -> int:
    """Where the file begins in this process."""
    file = os.path.realpath(path)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            place, _, offset, _, _, *found = line.split(maxsplit=5)
            if found and found[0].strip() == file and int(offset, 16) == 0:
                return int(place.split("-")[0], 16)
    raise AssertionError(f"{path} is not loaded")
