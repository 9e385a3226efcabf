"""The engine "numba-cuda" runs every rule on Numba's simulator, without a GPU."""

from __future__ import annotations

import pytest
from onepass.kernels.rules import RULES
from tolerances import DTYPES

from proving.simulator import rules as cudasim_rules
from proving.simulator import tools as numba_cuda_tools


@pytest.fixture(scope="module")
def simulated():
    """What each case came to, from one run of the script for all of them."""
    return numba_cuda_tools.simulated(cudasim_rules.__file__)


@pytest.mark.parametrize("case", cudasim_rules.cases())
def test_rule_on_the_simulator_follows_its_oracle(simulated, case):
    if case == cudasim_rules.CONTROL:
        assert "eps of float32 off" in simulated[case].wrong, "a wrong rule was not noticed"
    else:
        numba_cuda_tools.prove(simulated[case])


def test_every_rule_ran_on_the_simulator_for_every_dtype(simulated):
    launched = {tuple(kernel) for outcome in simulated.values() for kernel in outcome.launched}
    assert launched == {(name, dtype) for name in RULES for dtype in DTYPES}
