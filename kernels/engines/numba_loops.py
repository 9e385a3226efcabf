"""The loops of engine "numba", compiled from a rule: alone, behind checks, shared, posted."""

from __future__ import annotations

import inspect
from functools import cache
from itertools import combinations
from typing import Any
from zlib import crc32

import numba
import numpy as np
from numba import carray, types

from ..rule import Rule
from . import atomics, board, source
from .board import lead
from .compile import cfunc, njit
from .crew import ENDED, REFUSED, UNENDED
from .denormals import flush_denormals, flush_denormals_above, restore_denormals

LINE = 64  # bytes of a cache line, and of the widest SIMD register
FIRST_SCALAR = 8  # words of a job before its coefficients; the arrays' addresses come first
TYPES = {np.dtype("float32"): types.float32, np.dtype("float64"): types.float64}
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
_BOARD = f"board {crc32(inspect.getsource(board).encode()):08x}"  # is compiled into what calls it


@cache
def loop(rule: Rule) -> Any:
    """The compiled loop(*arrays, *coefficients) over contiguous one-dimensional arrays.

    The elements before the first cache line that `p` begins go first, so that the rest is loaded
    and stored in whole lines: large NumPy arrays begin 16 bytes into one.
    """
    names = source.array_names(rule)
    arguments = (*names, *source.scalar_names(rule))
    text = f"def NAME({', '.join(arguments)}):\n    T = p.dtype.type\n"
    text += "".join(f"    {name} = T({name})\n" for name in source.scalar_names(rule))
    flush = f"flush_denormals_above({rule.floor})" if rule.floor else "flush_denormals()"
    text += f"    before = {flush}\n"
    text += f"    head = min(p.size, -p.ctypes.data % {LINE} // p.itemsize)\n"
    text += "    for low, high in ((0, head), (head, p.size)):\n"
    text += "".join(f"        {name}_ = {name}[low:high]\n" for name in names)
    text += "        for i in range(p_.size):\n"
    element = source.element_source(rule, "_[i]").splitlines()
    text += "".join(f"            {line}\n" for line in element)
    text += "    restore_denormals(before)\n"
    inline = numba.njit(**OPTIONS)  # compiled into the loop, and kept with it
    update = source.rebound(rule.update, {"maximum": inline(source.maximum)})
    namespace = {
        "prelude": inline(rule.prelude),
        "update": inline(update),
        "flush_denormals": flush_denormals,
        "flush_denormals_above": flush_denormals_above,
        "sqrt": np.sqrt,
        "restore_denormals": restore_denormals,
    }
    return njit(**OPTIONS)(source.build(rule, "loop", text, namespace))


@cache
def guarded_loop(rule: Rule, dtype: np.dtype[Any]) -> Any:
    """The loop behind the checks that Python leaves to it: True if it ran, False if it refused.

    Its one signature admits only writeable, aligned, contiguous arrays of one dimension and
    `dtype`; the code itself refuses other lengths and arrays that overlap.
    """
    names, scalars = source.array_names(rule), source.scalar_names(rule)
    text = f"def NAME({', '.join((*names, *scalars))}):\n{_checks(names, 'False')}"
    text += f"    loop({', '.join((*names, *scalars))})  # {loop(rule).__name__}\n    return True\n"
    function = source.build(rule, f"guarded_{dtype.name}", text, {"loop": loop(rule)})
    return njit(types.boolean(*_signature(names, scalars, dtype)), **OPTIONS)(function)


@cache
def posted_loop(rule: Rule, dtype: np.dtype[Any]) -> Any:
    """The shared loop behind the same checks, posted to the crew: REFUSED, ENDED or UNENDED."""
    names, scalars = source.array_names(rule), source.scalar_names(rule)
    shared = shared_loop(rule, dtype.name)
    extra = ("board", "threads", "chunk", "patience", "job", "function")
    text = f"def NAME({', '.join((*names, *scalars, *extra))}):\n{_checks(names, REFUSED)}"
    text += "    reals = job.view(float64)\n"
    for k, name in enumerate(names):
        text += f"    job[{k}] = {name}.ctypes.data\n"
    for k, name in enumerate(scalars):
        text += f"    reals[{FIRST_SCALAR + k}] = {name}\n"
    text += "    ended = lead(board, threads, function, p.size, chunk, job.ctypes.data, patience)\n"
    text += f"    return {ENDED} if ended else {UNENDED}  # {_BOARD}\n"
    namespace = {"lead": lead, "float64": np.float64}
    function = source.build(rule, f"posted_{dtype.name}", text, namespace)
    words, number = types.int64[::1], types.int64
    kinds = [*_signature(names, scalars, dtype), words, number, number, number, words, number]
    compiled = njit(types.int64(*kinds), nogil=True, **OPTIONS)(function)
    return compiled, shared.address


def _checks(names: tuple[str, ...], refusal: object) -> str:
    """Source that refuses other lengths than p's, and arrays that overlap."""
    text = "    nbytes = p.nbytes\n"
    for name in names[1:]:
        text += f"    if {name}.size != p.size:\n        return {refusal}\n"
    for a, b in combinations(names, 2):
        text += f"    if ({a}.ctypes.data < {b}.ctypes.data + nbytes\n"
        text += f"        and {b}.ctypes.data < {a}.ctypes.data + nbytes):\n"
        text += f"        return {refusal}\n"
    return text


def _signature(names: tuple[str, ...], scalars: tuple[str, ...], dtype: np.dtype[Any]) -> list[Any]:
    """Writeable, aligned, contiguous arrays of one dimension and `dtype`, then the scalars."""
    return [TYPES[dtype][::1]] * len(names) + [types.float64] * len(scalars)


@cache
def shared_loop(rule: Rule, dtype: str) -> Any:
    """The same loop over elements low to high of a job, as a C function that helpers can call."""
    names, scalars = source.array_names(rule), source.scalar_names(rule)
    text = "def NAME(low, high, job):\n    n = high - low\n"
    text += f"    addresses = carray(job, ({len(names)},), int64)\n"
    text += f"    scalars = carray(job, ({FIRST_SCALAR + len(scalars)},), float64)\n"
    for k, name in enumerate(names):
        text += f"    {name} = carray(pointer(addresses[{k}] + low * itemsize), n, dtype)\n"
    values = ", ".join(f"scalars[{FIRST_SCALAR + k}]" for k in range(len(scalars)))
    text += f"    loop({', '.join(names)}, {values})  # {loop(rule).__name__}\n"
    namespace = {
        "loop": loop(rule),
        "carray": carray,
        "pointer": atomics.pointer,
        "int64": types.int64,
        "float64": types.float64,
        "dtype": numba.from_dtype(np.dtype(dtype)),
        "itemsize": np.dtype(dtype).itemsize,
    }
    signature = types.void(types.int64, types.int64, types.voidptr)
    function = source.build(rule, f"shared_{dtype}", text, namespace)
    return cfunc(signature, **OPTIONS)(function)
