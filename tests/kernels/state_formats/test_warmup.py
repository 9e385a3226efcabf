"""What `kernels.warmup` compiles of encoded states, no step compiles afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels
from onepass.kernels.rules import RULES
from onepass.kernels.state_formats.cpu import numba_loops


@pytest.mark.parametrize("state_format", ["bfloat16", "8bit"])
def test_no_step_compiles_after_it(state_format, monkeypatch):
    if not kernels.engines()["numba"].available:
        pytest.skip(kernels.engines()["numba"].reason)
    kernels.warmup(rules=["adam", "sgd"], state_formats=state_format)
    compiled = []
    monkeypatch.setattr(numba_loops, "c_function", compiled.append)
    param = np.ones(300, np.float32)
    unsigned = RULES["adam"].unsigned
    states = [
        kernels.zero_state(param, state_format, signed=name not in unsigned)
        for name in RULES["adam"].state
    ]
    for decay in (0.0, 0.1):
        kernels.adam_step(param, np.ones(300, np.float32), *states, step=1, weight_decay=decay)
    assert param[0] < 1
    assert not compiled


def test_what_is_no_format_is_named():
    with pytest.raises(ValueError, match="'float32', 'bfloat16', '8bit'"):
        kernels.warmup(rules=[], state_formats="int4")
