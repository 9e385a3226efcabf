"""The engine "numba-cuda" runs every operation on Numba's simulator, without a GPU."""

from __future__ import annotations

from functools import cache

import pytest

from proving.compiled.lowered import Lowered
from proving.simulator import activation as cudasim_activation
from proving.simulator import batch_norm as cudasim_batchnorm
from proving.simulator import dropout as cudasim_dropout
from proving.simulator import rows as cudasim_rows
from proving.simulator import rules as cudasim_rules
from proving.simulator import simulator
from proving.simulator import softmax as cudasim_softmax
from proving.simulator import state_formats as cudasim_state_formats
from proving.simulator import tools as numba_cuda_tools

SCRIPTS = {  # the quickest first: its first case is run where the others' runs are kept
    "dropout": cudasim_dropout,
    "rules": cudasim_rules,
    "activation": cudasim_activation,
    "batch norm": cudasim_batchnorm,
    "rows": cudasim_rows,
    "softmax": cudasim_softmax,
    "state formats": cudasim_state_formats,
}


@cache
def simulated(script):
    """What each case came to, from one run of the script for all of them."""
    return numba_cuda_tools.simulated(SCRIPTS[script].__file__)


@pytest.mark.parametrize(
    ("script", "case"), [(script, case) for script in SCRIPTS for case in SCRIPTS[script].names()]
)
def test_engine_on_the_simulator_follows_the_oracle(script, case):
    outcome = simulated(script)[case]
    if case == simulator.CONTROL:
        assert " off, " in outcome.wrong, "a wrong formula was not noticed"
        assert "eps of float" in outcome.wrong
    else:
        numba_cuda_tools.prove(outcome)


@pytest.mark.parametrize("name", ["grid", "gridsize"])
def test_a_thread_counts_in_64_bits(name):
    """`cuda.grid` and `cuda.gridsize` are what elements' indices are made of."""
    numba_cuda_tools.needed()
    import numba
    from numba import cuda

    count = getattr(cuda, name)

    def place(found):
        found[0] = count(1) * 4

    lowered = Lowered(lambda: place, (numba.float64[::1],))
    assert "cvt.rn.f64.s64" in lowered.ptx("90"), "the product is a 64-bit integer"
