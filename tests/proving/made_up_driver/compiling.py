"""g++ in the place of NVRTC: CuPy's text and ours becomes a library that the driver launches."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

from ..host.shared_memory import with_shared_memory, without_comments
from .built import RefusedError, built

MARK = b"made-up kernels "  # of launches.c
_HOST = Path(__file__).parents[1] / "host"
_COMMAND = [
    "g++", "-std=c++17", "-O1", "-g0", "-w", "-fPIC", "-fvisibility=hidden",
    "-fno-strict-aliasing", "-ffp-contract=off",
]  # fmt: skip
_LINKED = ["-shared", "-nostdlib"]
_EMPTY = (  # what cupy_on_host.h has, or nobody here needs
    "atomics", "bfloat16", "float16", "unstructured_void", "structview", "complex",
)  # fmt: skip
_KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\s*\([^()]*\)\s*)?void\s+"
                     r"(?:__launch_bounds__\s*\([^()]*\)\s*)?(\w+)\s*\(")  # fmt: skip
_OWN_PLACE = re.compile(r"threadIdx|blockIdx|blockDim|gridDim")
_WAITS = re.compile(r"__sync|__shfl|__ballot|__any_sync|__all_sync|__shared__")


def compile_text(
    source: str, options: tuple[str, ...] = (), *unused: Any, **unused_too: Any
) -> tuple[bytes, None]:
    """CuPy's `_compile_using_nvrtc_no_warning`: the image of a module, and no mangled names."""
    from cupy.cuda.compiler import CompileException

    try:
        made = built("kernels", {"kernels.cpp": _text(source, options)}, _command(), ".so")
    except (RefusedError, AssertionError) as error:
        raise CompileException(str(error), source, "kernels.cpp", options, "g++") from None
    return MARK + str(made).encode(), None


def _text(source: str, options: tuple[str, ...]) -> str:
    """What g++ is given."""
    macros = "".join(
        f"#define {option[2:].replace('=', ' ', 1)}\n" for option in options if option[:2] == "-D"
    )
    code = without_comments(source)
    kernels = _KERNEL.findall(code)
    assert kernels, "the text has no kernel"
    text = with_shared_memory(code, kernels[0])
    ends = "".join(f"\nMADE_UP_KERNEL({name}, {_launch(code)})" for name in kernels)
    return f'{macros}#line 1 "{kernels[0]}.cu"\n{text}{ends}\n'


def _launch(code: str) -> str:
    """How a kernel is launched: what cupy_on_host.h calls it.

    CuPy's elementwise text knows its place by CUPY_FOR alone, which shares elements out to however
    many threads there are: one thread takes them all, in the order in which many would one by one.
    """
    if _WAITS.search(code):
        return "launch"
    return "launch_flat" if _OWN_PLACE.search(code) or "CUPY_FOR" not in code else "launch_alone"


@cache
def _command() -> list[str]:
    """g++ with what all texts begin with, precompiled."""
    headers = {
        "all.h": '#include "cupy_on_host.h"\n#include "cupy/carray.cuh"\n',
        "cupy_on_host.h": Path(__file__).with_name("cupy_on_host.h").read_text("utf-8"),
        **{name: (_HOST / name).read_text("utf-8") for name in ("cuda_on_host.h", "fiber.h")},
        "cupy/carray.cuh": _of_cupy("carray.cuh"),
        "cupy/type_dispatcher.cuh": _of_cupy("type_dispatcher.cuh"),
        **{f"cupy/{name}.cuh": "" for name in _EMPTY},
        "cupy/math_constants.h": "",
        "cuda_fp16.h": "",
    }
    made = built("headers", headers, [*_COMMAND, "-x", "c++-header", "-I."], ".gch")
    # A line of CuPy's may include a header again: it must find the very file that is precompiled.
    return [*_COMMAND, *_LINKED, f"-I{made.parent}", "-include", str(made.with_suffix(""))]


def _of_cupy(header: str) -> str:
    found = importlib.util.find_spec("cupy")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "_core/include/cupy" / header).read_text("utf-8")
