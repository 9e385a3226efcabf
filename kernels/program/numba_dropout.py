"""Dropout in a program: each step draws the next mask."""

from __future__ import annotations

import numpy as np

from ..inverted_dropout.contract import Mask
from ..inverted_dropout.cpu.numba_cpu import numbers, shared
from ..inverted_dropout.cpu.numba_loops import JOB
from .numba_words import Words
from .program import Program

CHUNK = 1 << 14  # elements that a thread takes at a time
SHARED = 1 << 15  # elements from which threads share them
SEED, DRAW = 2, 3
"""The words of a job that tell the mask."""


class Masked:
    """A masking in a program: `start` tells where its masks begin."""

    def __init__(self, words: Words, job: np.ndarray) -> None:
        self._words, self._job = words, job
        self._draw = words.add(job, DRAW, int(job[DRAW]), 1)

    def start(self, seed: int, draw: int) -> None:
        """The next run's first step takes that mask."""
        self._job[SEED], first = numbers(Mask(0, 1.0, seed, draw))[:2]
        self._words.start(self._draw, first)


def dropout(program: Program, words: Words, x: np.ndarray, y: np.ndarray, mask: Mask) -> Masked:
    """y = x masked, which may be x."""
    job = np.array([x.ctypes.data, y.ctypes.data, *numbers(mask)[:3], 0])
    job.view(np.float64)[JOB - 1] = mask.scale
    chunk = CHUNK if x.size >= SHARED else 0
    function = shared(x.dtype.char).address
    program.add(function, job, x, y, size=x.size, chunk=chunk, name="dropout")
    return Masked(words, job)
