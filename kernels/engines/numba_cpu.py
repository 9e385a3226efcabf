"""Engine "numba": one loop over memory on the CPU, in SIMD instructions, threaded where it pays.

- Up to 6 MB: the compiled loop is called directly (about 1 us), on the caller's core; it also
  checks what Python would take longer to check.
- Large arrays: a crew of threads shares the loop (crew.py).
- Any other layout, and float16: NumPy's iterator hands the loop cache-sized contiguous pieces,
  converted where needed, and writes them back: still one pass over memory, no whole copy.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import numba
import numpy as np
from numba import carray, types

from ...backend import Array
from ..rule import Rule
from . import atomics, source
from .base import Engine, compute_dtype
from .compile import cfunc, njit
from .crew import get_crew
from .denormals import flush_denormals, restore_denormals

SHARED = 6 << 20  # bytes of all arrays together from which the crew shares a loop
LINE = 64  # bytes of a cache line, and of the widest SIMD register
PIECE = 8192  # elements of a piece of a strided array
_FIRST_SCALAR = 8  # words of a job before its coefficients; the arrays' addresses come first
_TYPES = {np.dtype("float32"): types.float32, np.dtype("float64"): types.float64}
_PLAIN_ARRAYS = {np.ndarray}
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}


class NumbaEngine(Engine):
    """Compiles each rule when it is first used, and keeps the machine code on disk."""

    name = "numba"
    devices = ("cpu",)

    def __init__(self) -> None:
        get_crew()  # a wrong ONEPASS_NUM_THREADS is told now, not at the first large step

    def missing(self) -> tuple[str, str]:
        return "", ""  # Numba is a core dependency

    def quick(self, rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> bool:
        first = arrays[0]
        dtype = first.dtype
        if (
            {*map(type, arrays)} != _PLAIN_ARRAYS
            or first.ndim != 1
            or dtype not in _TYPES
            or any(array.dtype is not dtype for array in arrays)  # Numba takes swapped bytes too
            or first.nbytes * len(arrays) >= SHARED
        ):
            return False
        guarded = guarded_loop(rule, dtype)
        try:
            return guarded(*arrays, *coefficients)
        except Exception:  # not the types it was compiled for; nothing ran
            return False

    def run(
        self,
        rule: Rule,
        arrays: tuple[Array, ...],
        coefficients: tuple[float, ...],
        contiguous: bool,
    ) -> None:
        first = arrays[0]
        if not contiguous or first.dtype.char == "e":
            _run_pieces(loop(rule), arrays, coefficients)
        elif first.nbytes * len(arrays) >= SHARED:
            _run_shared(rule, arrays, coefficients)
        elif first.ndim == 1:
            loop(rule)(*arrays, *coefficients)
        else:
            loop(rule)(*[array.reshape(-1) for array in arrays], *coefficients)

    def warmup(self, rule: Rule, dtype: str) -> None:
        compute = compute_dtype(dtype)
        arrays = tuple(np.zeros(1, dtype=compute) for _ in source.array_names(rule))
        loop(rule)(*arrays, *(1.0 for _ in source.scalar_names(rule)))
        if compute == dtype:
            guarded_loop(rule, np.dtype(dtype))
            shared_loop(rule, compute)
            get_crew()


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
    text += "    before = flush_denormals()\n"
    text += f"    head = min(p.size, -p.ctypes.data % {LINE} // p.itemsize)\n"
    text += "    for low, high in ((0, head), (head, p.size)):\n"
    text += "".join(f"        {name}_ = {name}[low:high]\n" for name in names)
    text += "        for i in range(p_.size):\n"
    element = source.element_source(rule, "_[i]").splitlines()
    text += "".join(f"            {line}\n" for line in element)
    text += "    restore_denormals(before)\n"
    inline = numba.njit(**_OPTIONS)  # compiled into the loop, and kept with it
    update = source.rebound(rule.update, {"maximum": inline(source.maximum)})
    namespace = {
        "prelude": inline(rule.prelude),
        "update": inline(update),
        "flush_denormals": flush_denormals,
        "restore_denormals": restore_denormals,
    }
    return njit(**_OPTIONS)(source.build(rule, "loop", text, namespace))


@cache
def guarded_loop(rule: Rule, dtype: np.dtype[Any]) -> Any:
    """The loop behind the checks that Python leaves to it: True if it ran, False if it refused.

    Its one signature admits only writeable, aligned, contiguous arrays of one dimension and
    `dtype`; the code itself refuses other lengths and arrays that overlap.
    """
    names, scalars = source.array_names(rule), source.scalar_names(rule)
    text = f"def NAME({', '.join((*names, *scalars))}):\n    nbytes = p.nbytes\n"
    for name in names[1:]:
        text += f"    if {name}.size != p.size:\n        return False\n"
    for a, b in combinations(names, 2):
        text += f"    if ({a}.ctypes.data < {b}.ctypes.data + nbytes\n"
        text += f"        and {b}.ctypes.data < {a}.ctypes.data + nbytes):\n        return False\n"
    text += f"    loop({', '.join((*names, *scalars))})  # {loop(rule).__name__}\n    return True\n"
    function = source.build(rule, f"guarded_{dtype.name}", text, {"loop": loop(rule)})
    kinds = [_TYPES[dtype][::1]] * len(names) + [types.float64] * len(scalars)
    return njit(types.boolean(*kinds), **_OPTIONS)(function)


@cache
def shared_loop(rule: Rule, dtype: str) -> Any:
    """The same loop over elements low to high of a job, as a C function that helpers can call."""
    names, scalars = source.array_names(rule), source.scalar_names(rule)
    text = "def NAME(low, high, job):\n    n = high - low\n"
    text += f"    addresses = carray(job, ({len(names)},), int64)\n"
    text += f"    scalars = carray(job, ({_FIRST_SCALAR + len(scalars)},), float64)\n"
    for k, name in enumerate(names):
        text += f"    {name} = carray(pointer(addresses[{k}] + low * itemsize), n, dtype)\n"
    values = ", ".join(f"scalars[{_FIRST_SCALAR + k}]" for k in range(len(scalars)))
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
    return cfunc(signature, **_OPTIONS)(function)


def job_of(arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> np.ndarray:
    """The argument of a shared loop: addresses of the arrays, then the coefficients' bits."""
    job = np.empty(_FIRST_SCALAR + len(coefficients), dtype=np.int64)
    job[: len(arrays)] = [array.ctypes.data for array in arrays]
    job.view(np.float64)[_FIRST_SCALAR:] = coefficients
    return job


def _run_shared(rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> None:
    function = shared_loop(rule, arrays[0].dtype.name).address
    get_crew().run(function, arrays[0].size, job_of(arrays, coefficients), arrays)


def _run_pieces(compiled: Any, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> None:
    contiguous = ["contig", "aligned", "nbo"]
    written, read = ["readwrite", *contiguous], ["readonly", *contiguous]
    iterate: Any = np.nditer
    pieces = iterate(
        list(arrays),
        flags=["external_loop", "buffered", "grow_inner"],
        op_flags=[written, read, *[written] * (len(arrays) - 2)],
        op_dtypes=[np.dtype(compute_dtype(arrays[0].dtype.name))] * len(arrays),
        casting="same_kind",
        buffersize=PIECE,
    )
    with pieces:
        for piece in pieces:
            compiled(*piece, *coefficients)
