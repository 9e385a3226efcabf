"""Activations' engine "numba-cuda" runs on Numba's simulator, without a GPU."""

from __future__ import annotations

import pytest
from cases.activation import KINDS
from tolerances import DTYPES

from proving.simulator import activation as cudasim_activation
from proving.simulator import tools as numba_cuda_tools


@pytest.fixture(scope="module")
def simulated():
    """What each case came to, from one run of the script for all of them."""
    return numba_cuda_tools.simulated(cudasim_activation.__file__)


@pytest.mark.parametrize("case", cudasim_activation.names())
def test_engine_on_the_simulator_follows_the_oracle(simulated, case):
    if case == cudasim_activation.CONTROL:
        assert "eps of float32 off" in simulated[case].wrong, "a wrong formula was not noticed"
    else:
        numba_cuda_tools.prove(simulated[case])


def test_every_kernel_ran_on_the_simulator_for_every_dtype(simulated):
    launched = {tuple(kernel) for outcome in simulated.values() for kernel in outcome.launched}
    names = [f"activation_{kind}{of}" for kind in KINDS for of in ("", "_gradient")]
    assert launched == {(name, dtype) for name in names for dtype in DTYPES}
