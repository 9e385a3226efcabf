"""The loops of engine "numba", compiled from a rule: over whole arrays, and over a part of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import carray, types

from ..rule import Rule
from . import atomics, source
from .compile import cfunc, njit
from .denormals import flush_denormals, flush_denormals_above, restore_denormals

LINE = 64  # bytes of a cache line, and of the widest SIMD register
FIRST_SCALAR = 8  # words of a job before its coefficients; the arrays' addresses come first
TYPES = {np.dtype("float32"): types.float32, np.dtype("float64"): types.float64}
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}


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
