"""The loop of a layout for the CPU: blocks of a call, as a C function that a crew shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from ...compiling import python_text
from ...compiling.jit import once
from ...compiling.python_text import assigned, indented
from ...compiling.specialize import inlined
from ...crew.atomics import pointer
from ...rule_engines.numba_loops import flush_text, formulas
from ...simd.denormals import flush_denormals, flush_denormals_above, restore_denormals
from ...simd.loops import c_function
from ..layout import Layout
from .numba_words import NAMES

SIZE, BLOCK, FIRST_ARRAY = range(3)
"""Words of a job: elements, elements of a block, the addresses of the layout's arrays; then comes
what is another at each step, the key of the noise and the rule's coefficients."""


@once
def block_loop(layout: Layout) -> Any:
    """Steps blocks low to high of a job.

    A block is read and stepped once. Its new states in 8 bits wait in cache until the largest one
    is known; then they are written as codes.
    """
    rule, arrays = layout.rule, layout.arrays()
    scalars, buffers = python_text.scalar_names(rule), layout.in_blocks
    text = "def NAME(low, high, job):\n"
    key = FIRST_ARRAY + len(arrays)
    text += f"    words = carray(job, ({key + 1},), int64)\n"
    text += f"    scalars = carray(job, ({key + 1 + len(scalars)},), float64)\n"
    text += f"    key0, key1 = uint32(words[{key}]), uint32(words[{key}] >> 32)\n"
    for k, name in enumerate(scalars, key + 1):
        text += f"    {name} = float32(scalars[{k}])\n"
    text += f"    before = {flush_text(rule)}\n"
    text += f"    size, elements = words[{SIZE}], words[{BLOCK}]\n"
    text += "".join(f"    {name}_new = empty(elements, float32)\n" for name in buffers)
    text += "    for number in range(low, high):\n"
    body = "first = number * elements\nn = min(elements, size - first)\nb = 0\n"
    for k, (name, dtype) in enumerate(arrays.items(), FIRST_ARRAY):
        at, count = "first", "n"
        if name.endswith("_scales"):
            at, count = "number", "1"
        step = np.dtype(dtype).itemsize
        body += f"{name} = carray(pointer(words[{k}] + {step} * {at}), {count}, {dtype})\n"
    body += "block = uint32(number)\n" + assigned(layout.words()) + assigned(layout.blocks())
    body += "".join(f"{name}_most = uint32(0)\n" for name in buffers)
    pairs = range(layout.pairs())
    begin = "".join(f"word{k} = start{k}\n" for k in pairs)
    go_on = "".join(f"    word{k} = plus(word{k}, pace{k})\n" for k in pairs)
    body += begin + "for i in range(n):\n" + indented(1, assigned(layout.loads()))
    body += indented(1, python_text.element_source(rule, "")) + indented(
        1, assigned(layout.stores())
    )
    for name in buffers:
        body += f"    {name}_new[i] = {name}\n    {name}_most = largest({name}_most, {name})\n"
    body += go_on
    if buffers:
        body += assigned(layout.block_ends()) + begin + "for i in range(n):\n"
        codes = [layout.code(name, f"{name}_new[i]") for name in buffers]
        body += indented(1, assigned(codes)) + go_on
    text += indented(2, body) + "    restore_denormals(before)\n"
    namespace = {
        **NAMES,
        **formulas(rule, maximum=inlined(python_text.maximum), sign=inlined(python_text.sign)),
        "carray": carray,
        "empty": np.empty,
        "flush_denormals": flush_denormals,
        "flush_denormals_above": flush_denormals_above,
        "float64": types.float64,
        "int64": types.int64,
        "pointer": pointer,
        "restore_denormals": restore_denormals,
        "sqrt": np.sqrt,
        **{name: getattr(np, name) for name in ("float32", "int16", "uint8", "uint16", "uint32")},
        "T": np.float32,
    }
    return c_function(python_text.build(rule, f"blocks_{layout.name}", text, namespace))
