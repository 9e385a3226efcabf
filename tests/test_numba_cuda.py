"""The engine "numba-cuda" without a GPU: compiled to PTX, and run on Numba's simulator."""

from __future__ import annotations

import shutil
from functools import cache
from types import SimpleNamespace
from unittest import mock

import cudasim_rules
import numba_cuda_tools
import numpy as np
import pytest
from onepass.kernels.engines import numba_cuda, source
from onepass.kernels.engines.base import compute_dtype
from onepass.kernels.rule import Rule
from onepass.kernels.rules import RULES
from tolerances import DTYPES

CAPABILITIES = [(7, 5), (9, 0)]


@cache
def compiled(rule, dtype, capability):
    """The PTX of a rule; device functions ask which GPU is there, so one is made up."""
    import numba
    from numba.cuda import api, compile_ptx, dispatcher

    gpu = SimpleNamespace(compute_capability=capability)
    numba_cuda.device_functions.cache_clear()  # it keeps what was compiled for another GPU
    array = numba.from_dtype(np.dtype(dtype))[::1]
    scalar = numba.from_dtype(np.dtype(compute_dtype(dtype)))
    arguments = [array] * len(source.array_names(rule)) + [scalar] * len(source.scalar_names(rule))
    with (
        mock.patch.object(api, "get_current_device", return_value=gpu),
        mock.patch.object(dispatcher, "get_current_device", return_value=gpu),
    ):
        kernel = numba_cuda.python_kernel(rule, dtype)
        return compile_ptx(kernel, numba.void(*arguments), cc=capability)[0]


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
    numba_cuda.device_functions.cache_clear()


def variant(name, capability):
    """Decay on one GPU, none on the other: both preludes are compiled."""
    return RULES[name] if capability == (9, 0) else RULES[name].without_decay


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_only_float64_arrays_cost_double_precision(ptx, name, dtype, capability):
    text = ptx(variant(name, capability), dtype, capability)
    assert f".target sm_{capability[0]}{capability[1]}" in text
    assert (".f64" in text) == (dtype == "float64")


def literal(p, g):
    p = p - g * 0.5
    return (p,)


def test_a_literal_that_promotes_to_double_is_seen(ptx):
    assert ".f64" in ptx(Rule("planted", literal), "float32", (9, 0))


@pytest.mark.skipif(not shutil.which("ptxas"), reason="ptxas is not on the PATH")
@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_ptxas_accepts_the_kernel_and_spills_nothing(ptx, tmp_path, name, dtype, capability):
    numba_cuda_tools.ptxas_report(
        ptx(variant(name, capability), dtype, capability), capability, tmp_path
    )


# --- the simulator --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def simulated():
    """What was wrong in each case, from one run of the script for all of them."""
    return numba_cuda_tools.simulated(cudasim_rules.__file__)


@pytest.mark.parametrize("case", cudasim_rules.cases())
def test_rule_on_the_simulator_follows_its_oracle(simulated, case):
    if case == cudasim_rules.CONTROL:
        assert "eps of float32 off" in simulated[case], "a wrong rule was not noticed"
    else:
        assert simulated[case] == ""
