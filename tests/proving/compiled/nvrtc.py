"""NVRTC on the very text and options that CuPy hands it, for any GPU and without one."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any
from unittest import mock

import pytest

from proving.compiled import ptxas
from proving.compiled.ptxas import Report

Text = tuple[str, tuple[str, ...]]  # what is compiled, and the options


def needed() -> None:
    """Skip, with the reason, where CuPy, NVRTC or the CUDA headers are missing."""
    pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    if reason := _missing():
        pytest.skip(reason)


@cache
def _missing() -> str:
    from cupy.cuda.compiler import CompileException

    try:
        build(raw("#include <cupy/float16.cuh>"))
    except RuntimeError as error:
        return f"NVRTC can't be loaded: {error}"
    except CompileException as error:
        if "cannot open source file" not in str(error):
            raise
        return f"the CUDA headers are missing: {str(error).splitlines()[0]}"
    return ""


def raw(code: str) -> Text:
    """What the first call of a RawKernel of that code compiles."""
    return _assembled(code, prepend_cupy_headers=False)


def launched(make: Any, *arguments: Any) -> Text:
    """The same of the kernel that `make` makes, one of the engines' own."""
    import cupy

    with mock.patch.object(cupy, "RawKernel") as made:
        make.__wrapped__(*arguments)
    return raw(made.call_args.args[0])


def elementwise(
    parts: Mapping[str, str],
    arrays: Collection[str],
    broadcast: Collection[str] = (),
    ndim: int = 1,
) -> Text:
    """What a call of an ElementwiseKernel compiles.

    Args:
        parts: what the ElementwiseKernel is made of.
        arrays: the parameters that are contiguous arrays.
        broadcast: those that are arrays but stretched to the others' shape; the rest are scalars.
        ndim: number of axes of them all.
    """
    import cupy
    from cupy._core import _kernel
    from cupy._core._carray import Indexer

    kernel, infos = cupy.ElementwiseKernel(**parts), []
    for parameter in kernel.params:  # _ArgInfo(kind, type, dtype, ndim, contiguous, 32 bits)
        name = parameter.name
        if name == "_ind":
            infos.append(_kernel._ArgInfo(2, Indexer, None, ndim, True, True))
        elif name in arrays or name in broadcast:
            kind, contiguous = parameter.dtype.type, name in arrays
            infos.append(_kernel._ArgInfo(1, cupy.ndarray, kind, ndim, contiguous, True))
        else:
            infos.append(_kernel._ArgInfo(3, float, parameter.dtype, 0, True, True))
    code = _kernel._get_elementwise_kernel_code(
        tuple(infos),
        _kernel._TypeMap(()),
        kernel.params,
        kernel.operation,
        kernel.name,
        kernel.preamble,
    )
    return _assembled(code)


def _assembled(code: str, **how: bool) -> Text:
    """With CuPy's headers and options."""
    from cupy._core import core
    from cupy.cuda import compiler

    with mock.patch.object(compiler, "_compile_module_with_cache", return_value=None) as asked:
        core.compile_with_cache(code, **how)
    text, options = asked.call_args.args
    return text, options


def build(text: Text, architecture: str = "90", form: str = "cubin") -> tuple[Any, str]:
    """The machine code or "ptx", and what ptxas reports."""
    from cupy.cuda import compiler

    code, options = text
    options += ("-ftz=true", *(["--ptxas-options=-v"] if form == "cubin" else []))
    log = io.StringIO()
    plain = compiler._get_arch_for_options_for_nvrtc.__wrapped__  # the memo asks for a device
    with (
        mock.patch.object(compiler, "_get_arch_for_options_for_nvrtc", plain),
        mock.patch.object(compiler, "_use_ptx", form == "ptx"),
    ):
        built, _ = compiler.compile_using_nvrtc(code, options, architecture, log_stream=log)
    return built, log.getvalue()


@cache
def report(text: Text, architecture: str) -> Report:
    """What its machine code takes of a GPU."""
    built, log = build(text, architecture)
    assert built.startswith(b"\x7fELF"), "not a cubin"
    return ptxas.read(log)


@cache
def ptx(text: Text) -> str:
    return build(text, form="ptx")[0].decode()
