"""Batch normalization's CUDA C text becomes lean machine code for every GPU generation: NVRTC
compiles it as CuPy has it compiled, without a GPU."""

from __future__ import annotations

from unittest import mock

import nvrtc
import pytest
from onepass.kernels.batchnorm import cuda_elementwise, cupy_gpu
from onepass.kernels.batchnorm.cuda_text import KERNELS
from onepass.kernels.batchnorm.gpu_plan import NEIGHBOURS
from tolerances import DTYPES

pytestmark = pytest.mark.usefixtures("compiler")

REGISTERS = {"float16": 40, "float32": 40, "float64": 64}  # 12 and 8 warps of a scheduler resident
WIDE_REGISTERS = {"float16": 52, "float32": 52, "float64": 64}  # an index takes two
FINISH_REGISTERS = 64  # a block or two in all
MOMENTS, PRODUCTS, *FINISH = KERNELS
RAW = [
    *((MOMENTS, False, width) for width in (1, NEIGHBOURS)),
    *((PRODUCTS, relu, width) for relu in (False, True) for width in (1, NEIGHBOURS)),
    *((name, False, 1) for name in FINISH),
]
ELEMENTWISE = [
    (name, relu) for name in ("normalize", "differentiate", "infer") for relu in (False, True)
]
GATED = [kernel for kernel in (*RAW, *ELEMENTWISE) if kernel[1] or kernel[0] in (MOMENTS, *FINISH)]
REPRESENTATIVE = (PRODUCTS, True, NEIGHBOURS), ("differentiate", True)


@pytest.fixture(scope="module")
def compiler():
    """Skips where nothing can be compiled."""
    nvrtc.needed()


def text_of(name, relu, width=0, dtype="float32", wide=False):
    """What CuPy compiles for a kernel; one without a width is an ElementwiseKernel."""
    if width:
        make = cupy_gpu.raw_kernel.__wrapped__
        with mock.patch.object(cupy_gpu, "_module") as cupy:
            make(name, dtype, relu, width, wide)
        return nvrtc.raw(cupy().RawKernel.call_args.args[0])
    parts = cuda_elementwise.elementwise(name, dtype, relu)
    vectors = {each.split()[1] for each in parts["in_params"].split(", ")} - {"x", "dy", "eps"}
    return nvrtc.elementwise(parts, ("x", "y", "dy", "dx"), vectors, ndim=3)


def assert_lean(kernel, dtype, architecture):
    finishes = kernel[0] in FINISH
    most = FINISH_REGISTERS if finishes else REGISTERS[dtype]
    nvrtc.assert_lean(text_of(*kernel, dtype=dtype), architecture, most)
    if kernel in RAW:
        most = FINISH_REGISTERS if finishes else WIDE_REGISTERS[dtype]
        nvrtc.assert_lean(text_of(*kernel, dtype=dtype, wide=True), architecture, most)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [*RAW, *ELEMENTWISE], ids=str)
def test_cubin_for_hopper_spills_nothing(kernel, dtype):
    assert_lean(kernel, dtype, "90")


@pytest.mark.parametrize("architecture", ["75", "80", "100", "120"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "kernel",
    [
        kernel if kernel in REPRESENTATIVE else pytest.param(kernel, marks=pytest.mark.slow)
        for kernel in (*RAW, *ELEMENTWISE)
    ],
    ids=str,
)
def test_cubin_for_every_generation_spills_nothing(kernel, dtype, architecture):
    assert_lean(kernel, dtype, architecture)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", GATED, ids=str)
def test_only_float64_arrays_cost_double_precision(kernel, dtype):
    ptx = nvrtc.ptx(text_of(*kernel, dtype=dtype))
    assert (".f64" in ptx) == (dtype == "float64")
