"""The kernel of a layout as a Python function, for `cuda.jit`, the simulator and the PTX checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compiling import python_text
from ...compiling.gpu.cuda_launch import device_functions, made_once
from ...compiling.python_text import assigned, indented
from .. import array, words
from ..layout import Layout
from ..numba_ir import intrinsics
from .functions import in_order

MOST_THREADS = 512
"""Of a GPU's block: each then has room for 128 registers."""


def threads_of(block: int) -> int:
    """Threads for a block of the quantization."""
    return min(block, MOST_THREADS)


def python_kernel(layout: Layout, block: int) -> Any:
    """(*arrays, size, key0, key1, *coefficients): a GPU's block takes blocks of the quantization.

    A thread takes an element of a block, or a few, and keeps its new states in registers until the
    largest one is known, which is found in shared memory.
    """
    from numba import cuda, float32, uint32

    rule, threads = layout.rule, threads_of(block)
    given = (*layout.arrays(), "size", "key0", "key1", *python_text.scalar_names(rule))
    text = f"def NAME({', '.join(given)}):\n    t = cuda.threadIdx.x\n"
    states, places = layout.in_blocks, range(0, block, threads)
    text += "".join(f"    {name}_parts = cuda.shared.array({threads}, uint32)\n" for name in states)
    text += (
        f"    for b in range(cuda.blockIdx.x, (size + {block - 1}) // {block}, cuda.gridDim.x):\n"
    )
    body = "block = uint32(b)\n" + assigned(layout.words()) + assigned(layout.blocks())
    body += "".join(f"{name}_most = uint32(0)\n" for name in states)
    for at in places:
        body += "".join(f"{name}_new{at} = float32(0)\n" for name in states)
        body += f"i = b * {block} + t + {at}\nif i < size:\n" + indented(1, _words(layout, at))
        body += indented(1, assigned(layout.loads()) + python_text.element_source(rule, ""))
        body += indented(1, assigned(layout.stores()))
        for name in states:
            body += f"    {name}_new{at} = {name}\n"
            body += f"    {name}_most = largest({name}_most, {name})\n"
    if states:
        body += _reduced(states, threads) + _ends(layout)
        for at in places:
            body += f"i = b * {block} + t + {at}\nif i < size:\n" + indented(1, _words(layout, at))
            codes = [layout.code(name, f"{name}_new{at}") for name in states]
            body += indented(1, assigned(codes))
        body += "cuda.syncthreads()\n"
    text += indented(2, body)
    formulas = (("prelude", rule.prelude), ("update", rule.update), ("after", rule.after))
    namespace = {
        **functions(),
        "cuda": cuda,
        "float32": float32,
        "uint32": uint32,
        "T": float32,
        **{
            name: cuda.jit(python_text.rebound(each, device_functions()), device=True)
            for name, each in formulas
            if each is not None
        },
    }
    return python_text.build(rule, f"cuda_{layout.name}_{block}", text, namespace)


@made_once
def functions() -> dict[str, Any]:
    """What statements of a layout call, on the GPU or in Numba's simulator."""
    from numba import cuda

    found = _in_python() if simulated() else _compiled()
    for each in in_order():
        found[each.__name__] = cuda.jit(python_text.rebound(each, found), device=True)
    if simulated():
        lower_half = found["lower_half"]
        # NumPy's scalars don't wrap around where they are stored, as a GPU's words do.
        found["lower_half"] = lambda x: lower_half(x).astype(np.uint16).view(np.int16)
    return found


def simulated() -> bool:
    """Whether kernels run as Python."""
    from numba import config

    return bool(config.ENABLE_CUDASIM)


def _compiled() -> dict[str, Any]:
    """What formulas are made of."""
    from numba import types
    from numba.cuda.extending import intrinsic

    return intrinsics(intrinsic, types)


def _in_python() -> dict[str, Any]:
    return {each.__name__: each for each in words.PRIMITIVES} | {"word": array.word}


def _words(layout: Layout, at: int) -> str:
    """The noise of a thread's element at this place and its own number."""
    place = f"uint32(t + {at})"
    return assigned(
        [(f"word{k}", f"plus(start{k}, times(pace{k}, {place}))") for k in range(layout.pairs())]
    )


def _reduced(states: tuple[str, ...], threads: int) -> str:
    """The largest of all threads, to all of them."""
    text = "".join(f"{name}_parts[t] = {name}_most\n" for name in states)
    text += f"half = {threads // 2}\nwhile half > 0:\n    cuda.syncthreads()\n    if t < half:\n"
    for name in states:
        text += f"        {name}_parts[t] = larger({name}_parts[t], {name}_parts[t + half])\n"
    text += "    half //= 2\ncuda.syncthreads()\n"
    return text + "".join(f"{name}_most = {name}_parts[0]\n" for name in states)


def _ends(layout: Layout) -> str:
    """Scales, which one thread writes, and what codes are made by."""
    text = ""
    for target, value in layout.block_ends():
        one = "if t == 0:\n    " if target.endswith("[b]") else ""
        text += f"{one}{target} = {value}\n"
    return text
