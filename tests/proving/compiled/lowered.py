"""Numba CUDA's compiler: a kernel as LLVM's code, its PTX for any GPU, what both are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from onepass.kernels.compiling.checksum import KERNELS, sources
from onepass.kernels.compiling.gpu import cuda_launch


class Lowered:
    """A kernel as LLVM's code, which is one for all GPUs: `compile_ptx` would make it for each.

    It is made where its PTX is first asked for.

    Args:
        make: gives the kernel as a Python function.
        types: of its arguments.
        capability: of the GPU that it is lowered for; device functions ask which one is there.
        launch_bounds: as `cuda.jit` is given them.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        types: tuple[Any, ...],
        capability: tuple[int, int] = (9, 0),
        launch_bounds: tuple[int, int] | None = None,
    ) -> None:
        self._make, self._types = make, types
        self._capability, self._launch_bounds = capability, launch_bounds

    def given(self) -> list[str]:
        """All that Numba is given, in words that are the same in every process."""
        how = [f"{self._types} {self._capability} {self._launch_bounds}"]
        return [*how, *_told(self._make(), set())]

    @cached_property
    def _library(self) -> Any:
        import numba
        from numba.cuda import api, compiler, dispatcher

        gpu = SimpleNamespace(compute_capability=self._capability)
        cuda_launch.forget()  # functions compiled for another GPU
        try:
            with (
                mock.patch.object(api, "get_current_device", return_value=gpu),
                mock.patch.object(dispatcher, "get_current_device", return_value=gpu),
            ):
                library, _ = compiler._compile_pyfunc_with_fixup(
                    self._make(),
                    numba.void(*self._types),
                    device=False,
                    abi="numba",
                    cc=self._capability,
                    launch_bounds=self._launch_bounds,
                )
        finally:
            cuda_launch.forget()
        return library

    def ptx(self, architecture: str) -> str:
        """As NVVM writes it for the GPUs of one compute capability, given without its point."""
        (text,) = self._library.get_asm_strs(cc=(int(architecture[:-1]), int(architecture[-1])))
        return str(text)


def _told(value: Any, seen: set[int]) -> Iterator[str]:
    """What a function does, and all that its names stand for; each function once."""
    function = getattr(value, "py_func", value)  # of a device function
    if isinstance(function, FunctionType):
        if id(function) in seen:
            return
        seen.add(id(function))
        options = getattr(value, "targetoptions", {})
        yield repr(sorted((name, str(told)) for name, told in options.items()))
        yield from _of_code(function.__code__)
        yield repr((function.__defaults__, function.__kwdefaults__))
        for name in sorted(_names(function.__code__) & function.__globals__.keys()):
            yield name
            yield from _told(function.__globals__[name], seen)
        for cell in function.__closure__ or ():
            yield from _told(cell.cell_contents, seen)
    elif isinstance(value, ModuleType):
        ours = f"{value.__name__}.".startswith(KERNELS)
        yield f"{value.__name__} {sources(value.__name__) if ours else ''}"
    elif isinstance(value, type | BuiltinFunctionType):
        yield f"{value.__module__}.{value.__qualname__}"
    else:
        told = repr(value)
        if " at 0x" in told:
            raise TypeError(f"{told} stands in a kernel: nobody can tell whether it has changed")
        yield f"{type(value).__qualname__} {told}"


def _names(code: CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return {*code.co_names}.union(*map(_names, inner))


def _of_code(code: CodeType) -> Iterator[str]:
    """Without its name, its file and its lines."""
    constants = [each for each in code.co_consts if not isinstance(each, CodeType)]
    told = [sorted(map(repr, each)) if isinstance(each, frozenset) else each for each in constants]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    yield f"{code.co_code.hex()} {told} {names} {code.co_argcount} {code.co_flags}"
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _of_code(each)
