"""Words in a GPU's memory that tell a step which coefficients it takes, and whether it is taken,
and those that steps of a scaled loss leave there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...backend import Array

STEP, STOP, DRAWS, ORDER, FACTOR = range(5)
"""Words of the clock: how many steps of a run were decided on; why the last of them is not taken,
or 0; what is added to dropout's draws; the address of the samples' numbers; the factor on
gradients, a float64."""
CLOCK = 5
SCALE, SINCE, STUCK, TAKEN, CALLS = range(5)
"""Words beside the clock: the scale of the loss, a float64; steps since it changed; how often no
smaller one was left; how many steps were taken; how many were decided on."""
WORDS = 5
LEAST, MOST = 2.0**-64, 2.0**127
"""Scales between which float32 holds what is scaled."""


class Changes(NamedTuple):
    """What the scale is multiplied by: growth after steps in a row that are finite, as many as the
    interval says, and backoff where one is not."""

    growth: float
    backoff: float
    interval: int


class Report(NamedTuple):
    """What a GPU knew after it had decided on so many `calls`.

    Attributes:
        scale, since: the scale, and how many steps were taken since it changed.
        stuck: how often a step was left out at a scale that had no smaller one.
        taken: how many steps the optimizer has taken.
    """

    scale: float
    since: int
    stuck: int
    taken: int
    calls: int


def standing_clock() -> Array:
    """A new one for steps that are taken one by one, each with the first row of its table."""
    import cupy

    words = np.zeros(CLOCK, np.int64)
    words[STEP] = 1
    words.view(np.float64)[FACTOR] = 1.0
    return cupy.asarray(words)


def host_words(size: int) -> np.ndarray:
    """Words of the host, as float64, that the GPU reads and writes by itself."""
    import cupy

    memory = cupy.cuda.alloc_pinned_memory(8 * size)
    found = np.frombuffer(memory, np.float64, size)
    found[:] = 0
    return found
