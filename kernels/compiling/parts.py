"""Functions that are compiled only to be part of others, in half the time.

Numba optimizes each function and makes machine code of it before it goes into its callers, where
the same is done again, level by level. A part is left as it is, and optimized with its callers.
An innermost loop should be no part: alone it is vectorized for sure, among others it may not be.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class _Part(JITCodeLibrary):
    """The code of one function, which Numba never runs by itself."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        """Load nothing but the variables for what such code takes from Python, which Numba sets."""
        own = [v for v in self._final_module.global_variables if "NumbaEnv" in v.name]
        self._codegen._add_module(llvm.parse_assembly("\n".join(map(str, own))))
        self._finalize_dynamic_globals()
        self._finalized = True


class _PartCompiler(Compiler):
    def compile_extra(self, function: Any) -> Any:
        self.state.library = _Part(self.state.targetctx.codegen(), function.__qualname__)
        return super().compile_extra(function)


def part(**options: Any) -> Any:
    """`numba.njit` of functions that compiled code calls, and Python never."""
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**options, **wrappers, pipeline_class=_PartCompiler)
