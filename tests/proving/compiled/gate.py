"""The compile gate: machine code of every kernel of the GPU engines, for every GPU generation and
without a GPU. Its tests and the table of registers share what is compiled here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from onepass.kernels.batch_norm.gpu import cuda_text as batchnorm_text
from onepass.kernels.compiling.gpu.cuda_columns import KERNEL as COLUMNS
from onepass.kernels.rules import RULES

from proving.account import ARCHITECTURES, Kernel, shipped
from proving.compiled import (
    batch_norm_forms,
    kept,
    nvrtc,
    ptxas,
    rows_forms,
    sass,
    softmax_forms,
    state_format_forms,
)
from proving.compiled import forms as cuda_forms
from proving.compiled.kept import Figures
from proving.compiled.lowered import Lowered
from proving.compiled.ptxas import Report
from proving.layouts import LAYOUTS
from proving.simulator import tools as numba_cuda_tools


def needed(engine: str) -> None:
    """Skip, with the reason, where the engine's kernels can't be compiled."""
    if engine == "cupy":
        nvrtc.needed()
    else:
        numba_cuda_tools.needed()


def needed_for_code() -> None:
    """Skip, with the reason, where loops of machine code can't be looked at."""
    nvrtc.needed()
    if not ptxas.tool("nvdisasm"):
        pytest.skip("nvdisasm is neither in the wheel nvidia-cuda-nvdisasm nor on the PATH")


def reports(kernel: Kernel, architecture: str) -> dict[str, Report]:
    """What a kernel's machine code takes of that GPU, by form."""
    return {form: each.report for form, each in figures(kernel, architecture).items()}


@cache
def figures(kernel: Kernel, architecture: str) -> dict[str, Figures]:
    """What the compilers make of a kernel, by form: kept from an earlier run, or made now."""
    engine, name, dtype = kernel
    if engine == "cupy":
        return _of_cupy(dtype, architecture)[name]
    if not ptxas.path():
        pytest.skip("ptxas is neither in the wheel nvidia-cuda-nvcc nor on the PATH")
    forms = cuda_forms.lowered(name, dtype).items()
    return {form: _of_numba(name, code, architecture) for form, code in forms}


@cache
def _of_cupy(dtype: str, architecture: str) -> dict[str, dict[str, Figures]]:
    """Each form of each kernel, by name: all that must be compiled are one program."""
    names = [kernel.name for kernel in shipped() if kernel[::2] == ("cupy", dtype)]
    forms = [(name, *form) for name in names for form in cuda_forms.texts(name, dtype).items()]
    made = of_texts([text for _, _, text in forms], architecture)
    found: dict[str, dict[str, Figures]] = {name: {} for name in names}
    for (name, form, _), each in zip(forms, made, strict=True):
        found[name][form] = each
    return found


def of_texts(texts: Sequence[nvrtc.Text], architecture: str) -> list[Figures]:
    """What becomes of each kernel that NVRTC is given."""
    names = {text: kept.name(kept.CUDA_C, nvrtc.name(text), nvrtc.given(text)) for text in texts}
    found = {text: kept.find(name, architecture) for text, name in names.items()}
    absent = tuple(text for text, figures in found.items() if figures is None)
    compiled = nvrtc.compiled(absent, architecture) if absent else []
    for text, each in zip(absent, compiled, strict=True):
        found[text] = Figures(each.report, ptxas.shown(each.ptx), each.code)
        kept.keep(names[text], architecture, found[text])
    return [found[text] for text in texts]


def code(text: nvrtc.Text) -> sass.Code:
    """What the loops of a kernel do, by its machine code for nvrtc.LOOKED_AT."""
    ((_, _, found),) = of_texts([text], nvrtc.LOOKED_AT)
    assert found is not None, "there was no disassembler"
    return found


def _of_numba(name: str, code: Lowered, architecture: str) -> Figures:
    key = kept.name(kept.NUMBA, name, code.given())
    found = kept.find(key, architecture)
    if found is None:
        ptx = code.ptx(architecture)
        found = Figures(ptxas.assemble(ptx, architecture), ptxas.shown(ptx))
        kept.keep(key, architecture, found)
    return found


def budget(kernel: Kernel, form: str = "") -> int:
    """The registers that a thread may take: with 40, 12 warps are resident on each scheduler of a
    GPU, with 48 there are 10, with 64 there are 8, with 80 there are 6."""
    engine, name, dtype = kernel
    if name in LAYOUTS:
        return state_format_forms.budget(engine, name, form)
    if name in softmax_forms.KERNELS:
        return softmax_forms.budget(*kernel)
    if name in rows_forms.KERNELS:
        return rows_forms.budget(engine, name, dtype, form)
    if form.startswith(cuda_forms.OPTIONS):  # an array more, and four scalars
        by_table = name in cuda_forms.BY_TABLE and dtype == "float16"
        return 128 if dtype == "float64" or by_table else 80
    chunked = RULES.get(cuda_forms.CHUNKS.get(name, ""))
    if chunked and len(chunked.state) == 3:  # five arrays, and their addresses
        return 80
    if engine == "cupy" and name in batchnorm_text.KERNELS:
        return batch_norm_forms.budget(dtype, name, form)
    if name in cuda_forms.BY_TABLE:  # which read their scalars, and chunks' addresses
        return 128 if dtype == "float64" else 80
    if dtype == "float64" or name.startswith("finish"):  # these have a thread a channel: few
        return 64
    if engine == "cupy" and name in {
        *RULES,
        *cuda_forms.CHUNKS,
        *cuda_forms.BY_TABLE,
        *cuda_forms.ACTIVATIONS,
        COLUMNS,
    }:
        return 64  # each has 16 bytes of every array under way, or four times that of one
    sums = cuda_forms.SUMMED if engine == "numba-cuda" else cuda_forms.SQUARES
    return 48 if name in sums else 40


def shown(kernel: Kernel) -> list[frozenset[str]]:
    """Which signs a kernel's PTX has, in every form: Numba's for each GPU, NVRTC's for one."""
    of = ARCHITECTURES if kernel.engine == "numba-cuda" else (nvrtc.LOOKED_AT,)
    return [each.shown for one in of for each in figures(kernel, one).values()]
