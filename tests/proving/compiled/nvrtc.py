"""NVRTC on the very text and options that CuPy hands it, for any GPU and without one."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, NamedTuple
from unittest import mock

import pytest

from proving.compiled import ptxas, sass
from proving.compiled.ptxas import Report

Text = tuple[str, tuple[str, ...]]  # what is compiled, and the options
_INCLUDE = re.compile(r"^\s*#\s*include.*", re.MULTILINE)
_BOUNDS = r"(?:__launch_bounds__\([^)]*\)\s+)?"
LOOKED_AT = "90"
_KERNEL = re.compile(rf'extern "C" __global__ {_BOUNDS}void {_BOUNDS}(\w+)\s*\(')


class Built(NamedTuple):
    """Attributes: ptx, which became machine code; log, what ptxas reports of it; the code."""

    ptx: str
    log: str
    code: bytes


class Compiled(NamedTuple):
    """One kernel.

    Attributes:
        report: what its machine code takes of a GPU.
        ptx: its own.
        code: what its loops do, for LOOKED_AT where there is a disassembler.
    """

    report: Report
    ptx: str
    code: sass.Code | None


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


def build(text: Text, architecture: str = "90", *more: str) -> Built:
    """What NVRTC makes of a text, with more options than CuPy's where they are given."""
    from cupy.cuda import compiler
    from cupy_backends.cuda.libs import nvrtc

    code, options = text
    options += ("-ftz=true", "--ptxas-options=-v", *more)
    log, ptx = io.StringIO(), []
    machine_code = nvrtc.getCUBIN

    def both(program: Any) -> bytes:
        ptx.append(nvrtc.getPTX(program).decode())
        return machine_code(program)

    plain = compiler._get_arch_for_options_for_nvrtc.__wrapped__  # the memo asks for a device
    with (
        mock.patch.object(compiler, "_get_arch_for_options_for_nvrtc", plain),
        mock.patch.object(compiler, "_use_ptx", False),
        mock.patch.object(nvrtc, "getCUBIN", both),
    ):
        built, _ = compiler.compile_using_nvrtc(code, options, architecture, log_stream=log)
    assert built.startswith(b"\x7fELF"), "not a cubin"
    return Built(ptx[0], log.getvalue(), built + b"\0")  # CuPy cuts the last byte off


def name(text: Text) -> str:
    """Of its only kernel."""
    (found,) = _KERNEL.findall(text[0])
    return str(found)


def given(text: Text) -> list[str]:
    """All that NVRTC is given, without the folders of headers: where they lie changes nothing."""
    code, options = text
    return [code, *(option for option in options if not option.startswith("-I"))]


def compiled(texts: tuple[Text, ...], architecture: str = "90") -> list[Compiled]:
    """What becomes of each kernel for a GPU.

    Several are one program, and its headers are read once for many programs: that takes longer than
    compiling a kernel does.
    """
    from cupy_backends.cuda.libs import nvrtc

    kept_headers = ("--pch",) if nvrtc.getVersion() >= (12, 8) else ()
    program = texts[0] if len(texts) == 1 else _together(texts)
    ptx, log, machine_code = build(program, architecture, *kept_headers)
    reports = ptxas.read(log)
    looked_at = architecture == LOOKED_AT and ptxas.tool("nvdisasm")
    codes = sass.disassembled(machine_code) if looked_at else {}
    head, *entries = re.split(r"(?=\.visible \.entry)", ptx)
    found = {}
    for entry in entries:
        (name,) = re.findall(r"^\.visible \.entry (\w+)\(", entry)
        found[name] = Compiled(reports.pop(name), head + entry, codes.get(name))
    assert len(found) == len(texts), f"not the kernels of {len(texts)} texts: {[*found]}"
    assert not reports, f"not in the PTX: {[*reports]}"
    return (
        [found[f"kernel_{k}"] for k in range(len(texts))] if len(texts) > 1 else [*found.values()]
    )


def _together(texts: tuple[Text, ...]) -> Text:
    """Each text as it is, in a namespace of its own; their kernels are kernel_0, kernel_1, ...

    What they include comes before, where its guards see to it that nothing is included again.
    """
    (options,) = {options for _, options in texts}
    includes = [line.strip() for code, _ in texts for line in _INCLUDE.findall(code)]
    lines = [*dict.fromkeys(includes)]
    for k, (code, _) in enumerate(texts):
        symbol = name((code, options))
        lines += [f"namespace text_{k} {{", f"#define {symbol} kernel_{k}", code]
        lines += [f"#undef {symbol}", "}"]
    return "\n".join(lines), options
