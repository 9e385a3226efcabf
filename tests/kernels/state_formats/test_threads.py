"""Results do not depend on how many threads share a step."""

from __future__ import annotations

import numpy as np
import pytest
from cases.state_formats import CASES, bits, call_arrays, same_bits
from oracles.rules import RULES


@pytest.mark.parametrize(
    ("formats", "block_size"),
    [
        ("8bit", 256),
        pytest.param("8bit", 2048, marks=pytest.mark.slow),
        pytest.param("bfloat16", 256, marks=pytest.mark.slow),
        pytest.param({"param": "bfloat16", "m": "8bit", "v": "8bit"}, 64, marks=pytest.mark.slow),
    ],
)
def test_any_number_of_threads_gives_the_same(engine, set_threads, formats, block_size):
    if engine.name != "numba":
        pytest.skip("it has no threads")
    case, outcomes, size = CASES["adam"], [], 1_700_003
    for threads in (1, 2, 5):
        set_threads(threads)
        arrays = call_arrays(engine, case, formats, size, block_size=block_size)
        for step in (1, 2):
            RULES[case.function].call(engine.kernel(case.function), arrays, case.at(step, 0))
        outcomes.append(bits(engine, arrays))
    assert sum(part.nbytes for each in outcomes[0].values() for part in each) > 6e6
    assert all(same_bits(outcomes[0], other) for other in outcomes[1:])
    assert not np.array_equal(outcomes[0]["m"][0][:1000], outcomes[0]["m"][0][1000:2000])
