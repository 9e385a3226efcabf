"""The compile gate: machine code of every kernel of the GPU engines, for every GPU generation and
without a GPU. Its tests and the table of registers share what is compiled here."""

from __future__ import annotations

from functools import cache

import pytest
from onepass.kernels.batch_norm.gpu import cuda_text as batchnorm_text
from onepass.kernels.rules import RULES

from proving.account import ARCHITECTURES, Kernel, shipped
from proving.compiled import batch_norm_forms, nvrtc, ptxas, softmax_forms
from proving.compiled import forms as cuda_forms
from proving.compiled.ptxas import Report
from proving.simulator import tools as numba_cuda_tools


def needed(engine: str) -> None:
    """Skip, with the reason, where the engine's kernels can't be compiled."""
    if engine == "cupy":
        nvrtc.needed()
    else:
        numba_cuda_tools.needed()


@cache
def reports(kernel: Kernel, architecture: str) -> dict[str, Report]:
    """What a kernel's machine code takes of that GPU, by form."""
    engine, name, dtype = kernel
    if engine == "cupy":
        return {form: each.report for form, each in of_cupy(dtype, architecture)[name].items()}
    if not ptxas.path():
        pytest.skip("ptxas is neither in the wheel nvidia-cuda-nvcc nor on the PATH")
    forms = cuda_forms.lowered(name, dtype).items()
    return {form: ptxas.assemble(code.ptx(architecture), architecture) for form, code in forms}


@cache
def of_cupy(dtype: str, architecture: str) -> dict[str, dict[str, nvrtc.Compiled]]:
    """Each form of each kernel, by name: all of them are one program."""
    names = [kernel.name for kernel in shipped() if kernel[::2] == ("cupy", dtype)]
    forms = [(name, *form) for name in names for form in cuda_forms.texts(name, dtype).items()]
    compiled = nvrtc.compiled(tuple(text for _, _, text in forms), architecture)
    found: dict[str, dict[str, nvrtc.Compiled]] = {name: {} for name in names}
    for (name, form, _), each in zip(forms, compiled, strict=True):
        found[name][form] = each
    return found


def budget(kernel: Kernel, form: str = "") -> int:
    """The registers that a thread may take: with 40, 12 warps are resident on each scheduler of a
    GPU, with 48 there are 10, with 64 there are 8, with 80 there are 6."""
    engine, name, dtype = kernel
    if name in softmax_forms.KERNELS:
        return softmax_forms.budget(*kernel)
    if name == "amsgrad_chunks":  # five arrays, and their addresses
        return 80
    if engine == "cupy" and name in batchnorm_text.KERNELS:
        return batch_norm_forms.budget(dtype, name, form)
    if name in cuda_forms.BY_TABLE and dtype == "float64":  # whose scalars are not in the launch
        return 128
    if dtype == "float64" or name.startswith("finish"):  # these have a thread a channel: few
        return 64
    if engine == "cupy" and name in {
        *RULES,
        *cuda_forms.CHUNKS,
        *cuda_forms.BY_TABLE,
        *cuda_forms.ACTIVATIONS,
    }:
        return 64  # each has 16 bytes of every array under way
    sums = cuda_forms.SUMMED if engine == "numba-cuda" else cuda_forms.SQUARES
    return 48 if name in sums else 40


def ptx(kernel: Kernel) -> list[str]:
    """A kernel's PTX in every form: Numba's for each GPU, NVRTC's for one."""
    engine, name, dtype = kernel
    if engine == "cupy":
        return [each.ptx for each in of_cupy(dtype, "90")[name].values()]
    forms = cuda_forms.lowered(name, dtype).values()
    return [form.ptx(architecture) for form in forms for architecture in ARCHITECTURES]
