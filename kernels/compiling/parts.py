"""Functions that are compiled only to be part of others, in half the time.

Numba optimizes each function and makes machine code of it before it goes into its callers, where
the same is done again, level by level. No machine code is made of what Python never calls. What
holds no innermost loop is not optimized alone, either; a loop is, since it is vectorized then for
sure, which among others it may not be.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class _Loop(JITCodeLibrary):
    """The code of one function, which Numba never runs by itself."""

    def _finalize_final_module(self) -> None:
        """Load nothing but the variables for what such code takes from Python, which Numba sets."""
        own = [v for v in self._final_module.global_variables if "NumbaEnv" in v.name]
        self._codegen._add_module(llvm.parse_assembly("\n".join(map(str, own))))
        self._finalize_dynamic_globals()
        self._finalized = True


class _Part(_Loop):
    def _optimize_final_module(self) -> None:
        pass


class _LoopCompiler(Compiler):
    library = _Loop

    def compile_extra(self, function: Any) -> Any:
        self.state.library = self.library(self.state.targetctx.codegen(), function.__qualname__)
        return super().compile_extra(function)


class _PartCompiler(_LoopCompiler):
    library = _Part


_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def inner_loop(**options: Any) -> Any:
    """`numba.njit` of loops that compiled code calls, and Python never."""
    return numba.njit(**options, **_WRAPPERS, pipeline_class=_LoopCompiler)


def part(**options: Any) -> Any:
    """The same of functions without an innermost loop, or with one that need not be quick."""
    return numba.njit(**options, **_WRAPPERS, pipeline_class=_PartCompiler)
