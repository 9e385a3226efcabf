"""Batch normalization's engine "numba-cuda" without a GPU: compiled to PTX for the types of its own
launches, and run on Numba's simulator."""

from __future__ import annotations

import re
import shutil
from functools import cache
from types import SimpleNamespace
from unittest import mock

import cudasim_batchnorm
import numba_cuda_tools
import numpy as np
import pytest
from batchnorm_cases import make
from cudasim_batchnorm import Simulated, engine_on_host
from onepass.kernels.batchnorm import numba_cuda, numba_cuda_kernels
from onepass.kernels.engines.numba_cuda import device_functions
from tolerances import DTYPES

BUILDS = [("float32", (7, 5)), *((dtype, (9, 0)) for dtype in DTYPES)]
KERNELS = (
    "moments",
    "finish_forward",
    "normalize",
    "products",
    "finish_backward",
    "differentiate",
    "infer",
)
REGISTERS = 64  # 8 warps of a scheduler resident


@cache
def launched(dtype):
    """The types that each kernel is launched with in training and inference; nothing runs."""
    import numba

    given = {}

    class Launch:
        def __init__(self, name, *_):
            self.name = name

        def __getitem__(self, configuration):
            return lambda *args: given.update({self.name: tuple(map(type_of, args))})

    def type_of(value):
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            return numba.types.Array(numba.from_dtype(value.dtype), value.ndim, "C")
        return numba.typeof(value)

    case, run = make((3, 2, 7), dtype=dtype, activation="relu"), Simulated().kernel
    x, dy, *vectors = map(Simulated().asarray, case[:-1])
    with engine_on_host(kernel=Launch):
        _, saved = run("batch_norm_forward")(x, *vectors, **case.options)
        run("batch_norm_backward")(dy, saved)
        run("batch_norm_inference")(x, *vectors, **case.options)
    return given


@cache
def compiled(name, dtype, relu, capability):
    """The PTX of a kernel; device functions ask which GPU is there, so one is made up."""
    import numba
    from numba.cuda import api, compile_ptx, dispatcher

    gpu = SimpleNamespace(compute_capability=capability)
    device_functions.cache_clear()  # it keeps what was compiled for another GPU
    with (
        mock.patch.object(api, "get_current_device", return_value=gpu),
        mock.patch.object(dispatcher, "get_current_device", return_value=gpu),
    ):
        computed = "float64" if dtype == "float64" else "float32"
        kernel = numba_cuda.python_kernel(name, computed, relu)
        return compile_ptx(kernel, numba.void(*launched(dtype)[name]), cc=capability)[0]


@pytest.fixture(scope="module")
def ptx():
    """`compiled`, or a skip where what it needs is not installed."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed", exc_type=ImportError)
    from numba.cuda.cudadrv.nvvm import NVVM

    try:
        NVVM()
    except (ImportError, OSError) as error:  # NvvmSupportError is an ImportError
        pytest.skip(f"NVVM can't be loaded: {error}")
    yield compiled
    device_functions.cache_clear()


def gated(capability):
    """With ReLU on one GPU, without on the other."""
    return capability == (9, 0)


@pytest.mark.parametrize(("dtype", "capability"), BUILDS)
@pytest.mark.parametrize("name", KERNELS)
def test_only_float64_arrays_cost_double_precision(ptx, name, dtype, capability):
    text = ptx(name, dtype, gated(capability), capability)
    assert f".target sm_{capability[0]}{capability[1]}" in text
    assert (".f64" in text) == (dtype == "float64")


def test_a_literal_that_promotes_to_double_is_seen(ptx, monkeypatch):
    def normalize(x, coefficients, y, inner):
        y[0] = coefficients[0, 0] * 0.1

    monkeypatch.setattr(numba_cuda_kernels, "normalize", normalize)
    assert ".f64" in compiled.__wrapped__("normalize", "float32", False, (9, 0))


@pytest.mark.skipif(not shutil.which("ptxas"), reason="ptxas is not on the PATH")
@pytest.mark.parametrize(("dtype", "capability"), BUILDS)
@pytest.mark.parametrize("name", KERNELS)
def test_ptxas_accepts_the_kernel_and_spills_nothing(ptx, tmp_path, name, dtype, capability):
    report = numba_cuda_tools.ptxas_report(
        ptx(name, dtype, gated(capability), capability), capability, tmp_path
    )
    assert int(re.findall(r"Used (\d+) registers", report)[-1]) <= REGISTERS


# --- the simulator --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def simulated():
    """What was wrong in each case, from one run of the script for all of them."""
    return numba_cuda_tools.simulated(cudasim_batchnorm.__file__)


@pytest.mark.parametrize("case", cudasim_batchnorm.names())
def test_engine_on_the_simulator_follows_the_oracle(simulated, case):
    if case == cudasim_batchnorm.CONTROL:
        assert "eps of float32 off" in simulated[case], "a wrong formula was not noticed"
    else:
        assert simulated[case] == ""
