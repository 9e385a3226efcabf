"""The loops of engine "numba", compiled from a rule: over whole arrays, and over a part of them."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import carray, types

from ..compiling import python_text
from ..compiling.jit import once
from ..compiling.python_text import indented
from ..compiling.specialize import inlined
from ..crew import atomics
from ..rule import Rule, undecayed
from ..simd import lanes
from ..simd.denormals import flush_denormals, flush_denormals_above, restore_denormals
from ..simd.half import load, store
from ..simd.loops import c_function, inline

LINE = 64  # bytes of a cache line, and of the widest SIMD register
FIRST_SCALAR = 8  # words of a job before its coefficients; the arrays' addresses come first


def loop(rule: Rule, half: bool) -> Any:
    """The loop(*arrays, *coefficients) over contiguous one-dimensional arrays, to be compiled.

    The elements before the first cache line that `p` begins go first, so that the rest is loaded
    and stored in whole lines: large NumPy arrays begin 16 bytes into one. With `half` the arrays
    hold the bits of float16, and float32 is computed in.
    """
    if not half and lanes.estimates():
        return _loop_of_lanes(rule)
    names = python_text.array_names(rule)
    arguments = (*names, *python_text.scalar_names(rule))
    text = f"def NAME({', '.join(arguments)}):\n    T = {'float32' if half else 'p.dtype.type'}\n"
    text += "".join(f"    {name} = T({name})\n" for name in python_text.scalar_names(rule))
    text += f"    before = {flush_text(rule)}\n"
    text += f"    head = min(p.size, -p.ctypes.data % {LINE} // p.itemsize)\n"
    text += "    for low, high in ((0, head), (head, p.size)):\n"
    text += "".join(f"        {name}_ = {name}[low:high]\n" for name in names)
    text += "        for i in range(p_.size):\n"
    text += "".join(f"            {name}_i = load({name}_, i)\n" for name in names)
    element = python_text.element_source(rule, "_i").splitlines()
    text += "".join(f"            {line}\n" for line in element)
    written = (name for name in names if name != "g")
    text += "".join(f"            store({name}_, i, {name}_i)\n" for name in written)
    text += "    restore_denormals(before)\n"
    namespace = {
        **formulas(rule, maximum=inlined(python_text.maximum), sign=inlined(python_text.sign)),
        "flush_denormals": flush_denormals,
        "flush_denormals_above": flush_denormals_above,
        "sqrt": np.sqrt,
        "restore_denormals": restore_denormals,
        "load": load,
        "store": store,
        "float32": np.float32,
    }
    return python_text.build(rule, "loop", text, namespace)


def formulas(rule: Rule, **functions: Any) -> dict[str, Any]:
    """The rule's own functions, which call these in the place of NumPy's."""
    made = {"prelude": rule.prelude, "update": rule.update, "after": rule.after}
    return {
        name: inlined(
            each,
            **{
                function: own for function, own in functions.items() if function in each.__globals__
            },
        )
        for name, each in made.items()
        if each is not None
    }


def flush_text(rule: Rule) -> str:
    return f"flush_denormals_above({rule.floor})" if rule.floor else "flush_denormals()"


def _loop_of_lanes(rule: Rule) -> Any:
    """The same with vectors in place of elements.

    Those that are not whole, at the ends, are read and written by a mask. Without weight decay and
    factors on gradients there is a loop that leaves out their multiplications by 1.
    """
    names, scalars = python_text.array_names(rule), python_text.scalar_names(rule)
    element = python_text.element_source(rule, "_i")
    ends = _stepped(names, element, "_some", ", chosen")
    fetched = "".join(f"fetch({name}, i)\n" for name in names) if rule.state else ""
    inner = fetched + _stepped(names, element)
    every = "for i in range(head, whole, count(p)):\n"
    text = f"def NAME({', '.join((*names, *scalars))}):\n    number = p.dtype.type\n"
    text += "".join(f"    {name} = number({name})\n" for name in scalars)
    text += f"    before = {flush_text(rule)}\n"
    text += f"    head = min(p.size, -p.ctypes.data % {LINE} // p.itemsize)\n"
    text += "    whole = p.size - (p.size - head) % count(p)\n"
    text += "    for low, high in ((0, head), (whole, p.size)):\n"
    text += "        chosen = mask(p, high - low)\n"
    text += "        for i in range(low, high, count(p)):\n" + indented(3, ends)
    if rule.prelude is undecayed:
        text += "    if scale == 1.0 and keep == 1.0:\n" + indented(2, every)
        text += indented(3, inner.replace("prelude", "untouched")) + "    else:\n"
        text += indented(2, every) + indented(3, inner)
    else:
        text += indented(1, every) + indented(2, inner)
    text += "    restore_denormals(before)\n"
    namespace = {
        "untouched": inlined(_untouched),
        **formulas(
            rule,
            sqrt=lanes.sqrt,
            maximum=lanes.maximum,
            absolute=lanes.absolute,
            sign=lanes.sign,
        ),
        "flush_denormals": flush_denormals,
        "flush_denormals_above": flush_denormals_above,
        "sqrt": np.sqrt,
        "restore_denormals": restore_denormals,
        "fetch": lanes.fetch,
        "count": lanes.count,
        "mask": lanes.mask,
        "load": lanes.load,
        "load_some": lanes.load_some,
        "store": lanes.store,
        "store_some": lanes.store_some,
        "T": inlined(_same),
    }
    return python_text.build(rule, "lanes", text, namespace)


def _stepped(names: tuple[str, ...], element: str, some: str = "", chosen: str = "") -> str:
    """The statements that step the vectors which begin at i."""
    text = "".join(f"{name}_i = load{some}({name}, i{chosen})\n" for name in names) + element
    written = (name for name in names if name != "g")
    return text + "".join(f"store{some}({name}, i, {name}_i{chosen})\n" for name in written)


def _untouched(p, g, scale, decay, keep):
    """What `undecayed` is without factors."""
    return p, g


def _same(vector: Any) -> Any:
    return vector


@once
def shared_loop(rule: Rule, dtype: str) -> Any:
    """The same loop over elements low to high of a job, as a C function that helpers can call."""
    names, scalars = python_text.array_names(rule), python_text.scalar_names(rule)
    text = "def NAME(low, high, job):\n    n = high - low\n"
    text += f"    addresses = carray(job, ({len(names)},), int64)\n"
    text += f"    scalars = carray(job, ({FIRST_SCALAR + len(scalars)},), float64)\n"
    for k, name in enumerate(names):
        text += f"    {name} = carray(pointer(addresses[{k}] + low * itemsize), n, dtype)\n"
    values = ", ".join(f"scalars[{FIRST_SCALAR + k}]" for k in range(len(scalars)))
    half = dtype == "float16"
    text += f"    loop({', '.join(names)}, {values})\n"
    namespace = {
        "loop": inline(loop(rule, half)),
        "carray": carray,
        "pointer": atomics.pointer,
        "int64": types.int64,
        "float64": types.float64,
        "dtype": numba.from_dtype(np.dtype("uint16" if half else dtype)),
        "itemsize": np.dtype(dtype).itemsize,
    }
    function = python_text.build(rule, f"shared_{dtype}", text, namespace)
    return c_function(function)
