"""Words in a GPU's memory that tell a step which coefficients it takes, and whether it is taken."""

from __future__ import annotations

import numpy as np

from ...backend import Array

STEP, STOP, DRAWS, ORDER, FACTOR = range(5)
"""Words of the clock: how many steps of a run were decided on; why the last of them is not taken,
or 0; what is added to dropout's draws; the address of the samples' numbers; the factor on
gradients, a float64."""
CLOCK = 5


def standing_clock() -> Array:
    """A new one for steps that are taken one by one, each with the first row of its table."""
    import cupy

    words = np.zeros(CLOCK, np.int64)
    words[STEP] = 1
    words.view(np.float64)[FACTOR] = 1.0
    return cupy.asarray(words)
