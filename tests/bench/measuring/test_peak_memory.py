"""What a call allocates, apart from what others allocate meanwhile."""

from __future__ import annotations

import tracemalloc
from itertools import count

import numpy as np
import pytest
from onepass.bench.measuring.peak_memory import CALLS, peak_memory
from onepass.kernels.crew.crew import Crew

SIZE = 100_000


def test_the_peak_of_a_call_is_counted_though_it_gives_all_back():
    def call():
        first = np.empty(SIZE, np.uint8)
        del first
        np.empty(2 * SIZE, np.uint8)

    assert 2 * SIZE <= peak_memory(call) < 2 * SIZE + 2000


@pytest.mark.parametrize("which", range(CALLS))
def test_what_comes_once_is_not_the_calls_own(which):
    kept, number = [], count()

    def call():
        if next(number) == which:
            kept.append(bytearray(SIZE))

    assert peak_memory(call) < 1000
    assert kept


def test_helpers_that_start_are_not_the_calls_own():
    """A loop that follows another at once wakes the crew's helpers, the first time by threads."""
    crews = []

    def call():
        if not crews:
            crews.append(Crew(2))
            crews[0]._start()

    try:
        assert peak_memory(call) < 1000
    finally:
        crews[0].dismiss()


def test_nothing_is_traced_afterwards():
    def call():
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        peak_memory(call)
    assert not tracemalloc.is_tracing()
