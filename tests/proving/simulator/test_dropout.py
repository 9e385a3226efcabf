"""Dropout's engine "numba-cuda" runs on Numba's simulator, without a GPU, and counts in 64 bits."""

from __future__ import annotations

import pytest
from tolerances import DTYPES

from proving.simulator import dropout as cudasim_dropout
from proving.simulator import tools as numba_cuda_tools


@pytest.fixture(scope="module")
def simulated():
    """What each case came to, from one run of the script for all of them."""
    return numba_cuda_tools.simulated(cudasim_dropout.__file__)


@pytest.mark.parametrize("case", cudasim_dropout.names())
def test_engine_on_the_simulator_follows_the_oracle(simulated, case):
    if case == cudasim_dropout.CONTROL:
        assert "eps of float32 off" in simulated[case].wrong, "a missing round was not noticed"
    else:
        numba_cuda_tools.prove(simulated[case])


def test_the_kernel_ran_on_the_simulator_for_every_dtype(simulated):
    launched = {tuple(kernel) for outcome in simulated.values() for kernel in outcome.launched}
    assert launched == {("dropout", dtype) for dtype in DTYPES}


@pytest.mark.parametrize("name", ["grid", "gridsize"])
def test_a_thread_counts_in_64_bits(name):
    """`cuda.grid` and `cuda.gridsize` are what its elements' indices are made of."""
    numba_cuda_tools.needed()
    import numba
    from numba import cuda

    count = getattr(cuda, name)

    def place(found):
        found[0] = count(1) * 4

    lowered = numba_cuda_tools.Lowered(lambda: place, (numba.float64[::1],))
    assert "cvt.rn.f64.s64" in lowered.ptx("90"), "the product is a 64-bit integer"
