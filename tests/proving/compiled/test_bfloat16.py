"""Norms of bfloat16 become lean machine code, too, for a GPU that converts to it and for one that
does not. The account and its table hold the dtypes that all kernels take."""

from __future__ import annotations

import pytest
from cases.norms import BFLOAT16

from proving.account import Kernel
from proving.compiled import gate, nvrtc, ptxas, rows_forms

CONVERTS = "80"  # from there on in one instruction
FORWARD, GRADIENTS = "layer_norm_residual_gelu", "group_norm_relu_gradients"


@pytest.mark.parametrize("dtype", [BFLOAT16])
@pytest.mark.parametrize("architecture", ["75", CONVERTS, "90"])
@pytest.mark.parametrize("name", [FORWARD, GRADIENTS])
def test_cuda_c_is_lean_and_converts_at_once(name, architecture, dtype):
    gate.needed("cupy")
    texts = rows_forms.texts(name, dtype)
    for form, made in zip(texts, nvrtc.compiled((*texts.values(),), architecture), strict=True):
        ptxas.assert_lean(made.report, gate.budget(Kernel("cupy", name, dtype), form), form)
        assert ("cvt.rn.bf16" in made.ptx) == (architecture >= CONVERTS)
        assert ".f64" not in made.ptx


@pytest.mark.parametrize("dtype", [BFLOAT16])
@pytest.mark.parametrize("architecture", ["75", "90"])
@pytest.mark.parametrize("name", [FORWARD, GRADIENTS])
def test_numbas_kernels_are_lean(name, architecture, dtype):
    gate.needed("numba-cuda")
    if not ptxas.path():
        pytest.skip("ptxas is neither in the wheel nvidia-cuda-nvcc nor on the PATH")
    for form, code in rows_forms.lowered(name, dtype).items():
        ptx, kernel = code.ptx(architecture), Kernel("numba-cuda", name, dtype)
        ptxas.assert_lean(ptxas.assemble(ptx, architecture), gate.budget(kernel, form), form)
        assert ".f64" not in ptx
