"""ElementwiseKernels with a GPU's threads: the operation in the loop that CuPy generates around it.

elementwise.py runs an operation element by element. For the sanitizers it is a RawKernel of several
blocks, on arrays of exactly their size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from proving.host import elementwise as hostcuda
from proving.host.building import SANITIZERS
from proving.host.raw import Call, RawKernel

GRID, BLOCK = 3, 8  # few threads: each takes several elements, and tsan is slow to make one
CUPY_FOR = """
#define CUPY_FOR(i, n) \\
    for (ptrdiff_t i = \\
            static_cast<ptrdiff_t>(blockIdx.x) * blockDim.x + threadIdx.x; \\
         i < (n); \\
         i += static_cast<ptrdiff_t>(blockDim.x) * gridDim.x)
"""  # as cupy/carray.cuh has it
_C_TYPES = {"float16": "float16", "float32": "float", "float64": "double"}


class ElementwiseKernel(hostcuda.ElementwiseKernel):
    """`cupy.ElementwiseKernel` on the CPU, for the sanitizers too."""

    def __call__(self, *args: Any, build: str = "exact", order: str | int = "forward") -> None:
        """`order`, of blocks and threads, shows under the sanitizers alone."""
        if build not in SANITIZERS:
            return super().__call__(*args, build=build)
        call = self.threaded(args, order)
        return call.kernel(call.grid, call.block, call.args, order=order, build=build)

    def threaded(
        self,
        args: Sequence[Any],
        order: str | int = "forward",
        edit: Callable[[str], str] = str,
    ) -> Call:
        """The launch that CuPy would make of its kernel, if in fewer threads.

        As there, the number of an element is its place in contiguous arrays of the whole shape; in
        others its place is worked out axis by axis. `edit` changes the text, to plant mistakes.
        """
        shape, bound = self.bind(args)
        parameters, values, references = [], [], []
        for kind, name, written, value, steps in bound:
            kind = f"{'' if written else 'const '}{_C_TYPES[kind]}"
            values.append(value)
            parameters.append(f"{kind} {name}" if steps is None else f"{kind} *_raw_{name}")
            if steps is None:
                continue
            at = "i"
            if value.shape != shape or not value.flags.c_contiguous:
                at = f"place(i, {len(shape)}, _shape, _steps_{name})"
                parameters.append(f"const ptrdiff_t *_steps_{name}")
                values.append(np.array(steps, "int64"))
            references.append(f"{kind} &{name} = _raw_{name}[{at}];")
        parameters += ["const ptrdiff_t *_shape", "const ptrdiff_t _n"]
        values += [np.array(shape, "int64"), np.int64(np.prod(shape))]
        lines = (
            f"{CUPY_FOR}{self.preamble}{hostcuda.PLACE}",
            f'extern "C" __global__ void {self.name}({", ".join(parameters)}) {{',
            "CUPY_FOR(i, _n) {",
            *references,
            f"{self.operation};\n}};\n}}\n",
        )
        kernel = RawKernel(edit("\n".join(lines)), self.name)
        return Call(kernel, (GRID,), (BLOCK,), tuple(values), order=order)
