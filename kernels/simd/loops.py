"""How loops are compiled for the CPU, and the two that every operation needs."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.codegen import JITCPUCodegen
from numba.core.compiler import Compiler

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}

_INNER: dict[str, Any] = {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}  # half the compiling


class _Part(JITCPUCodegen._library_class):  # type: ignore[name-defined]
    """Code that only goes into other code, with which alone it is optimized and made to run."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        environments = [
            str(variable)
            for variable in self._final_module.global_variables
            if "NumbaEnv" in variable.name
        ]
        self._codegen._add_module(llvm.parse_assembly("\n".join(environments)))
        self._finalize_dynamic_globals()
        self._finalized = True


class _PartCompiler(Compiler):
    def compile_extra(self, function: Any) -> Any:
        self.state.library = _Part(self.state.targetctx.codegen(), function.__qualname__)
        return super().compile_extra(function)


inline = numba.njit(**OPTIONS, **_INNER, pipeline_class=_PartCompiler)
loop = numba.njit(**OPTIONS, **_INNER)
reduction = numba.njit(error_model="numpy", fastmath={"contract", "reassoc"}, **_INNER)


@inline
def fill(array: Any, number: Any) -> None:
    for i in range(array.size):
        array[i] = number


@inline
def copy(source: Any, target: Any) -> None:
    for i in range(target.size):
        target[i] = source[i]
