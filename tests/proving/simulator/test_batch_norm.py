"""Batch normalization's engine "numba-cuda" runs on Numba's simulator, without a GPU."""

from __future__ import annotations

import pytest
from onepass.kernels.activation.formula import FORMULAS
from onepass.kernels.rules import RULES
from onepass.kernels.softmax.cuda_text import KERNELS as SOFTMAX

from proving import account as proof
from proving.simulator import batch_norm as cudasim_batchnorm
from proving.simulator import tools as numba_cuda_tools


@pytest.fixture(scope="module")
def simulated():
    """What each case came to, from one run of the script for all of them."""
    return numba_cuda_tools.simulated(cudasim_batchnorm.__file__)


@pytest.mark.parametrize("case", cudasim_batchnorm.names())
def test_engine_on_the_simulator_follows_the_oracle(simulated, case):
    if case == cudasim_batchnorm.CONTROL:
        assert "eps of float32 off" in simulated[case].wrong, "a wrong formula was not noticed"
    else:
        numba_cuda_tools.prove(simulated[case])


def test_every_kernel_ran_on_the_simulator_for_every_dtype(simulated):
    launched = {tuple(kernel) for outcome in simulated.values() for kernel in outcome.launched}
    others = (*RULES, "dropout", *(f"activation_{name}" for name in FORMULAS), *SOFTMAX)
    ships = {kernel[1:] for kernel in proof.shipped() if kernel.name not in others}
    assert launched == ships
