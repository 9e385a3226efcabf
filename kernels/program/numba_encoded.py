"""The step of encoded states in a program: all calls in one walk, their numbers rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..compiling.python_text import scalar_names
from ..state_formats.base import Step
from ..state_formats.contract import Call
from ..state_formats.cpu.numba_cpu import Table, walk
from .numba_rule import CHUNK, SHARED
from .numba_words import Words, copy
from .program import Program


class EncodedStep:
    """Put on a program; before each run `prepare` tells the steps of it.

    Args:
        calls: of one rule, on arrays that stay.
        groups: of each, whose coefficients it takes; empty where all take the first.
        most: steps of a run.
    """

    def __init__(
        self, program: Program, words: Words, calls: Sequence[Call], groups: np.ndarray, most: int
    ) -> None:
        rule = calls[0].layout.rule
        self._groups = groups if groups.size else np.zeros(len(calls), np.int64)
        self._width = len(scalar_names(rule))
        self._rows = np.zeros((most, len(calls), 1 + self._width), np.int64)
        table, nothing = Table(calls), tuple(0.0 for _ in range(self._width))
        if not table.tell([Step(each, nothing, 0) for each in calls]):
            raise NotImplementedError("the optimizer's arrays are not of the plainest kind")
        for row, varied in zip(self._rows[0], table.varied, strict=True):
            given = copy(program, row, varied, rule.name)
            words.add(given, 0, row.ctypes.data, self._rows.strides[0])
        each = max(1, table.elements // table.blocks)
        chunk = -(-CHUNK // each) if table.elements >= SHARED else 0
        kept = table, self._rows, calls
        program.add(walk.address, table.walk, kept, size=table.blocks, chunk=chunk, name=rule.name)

    def prepare(self, number: int, coefficients: np.ndarray, keys: Sequence[int]) -> None:
        """Let step `number` of the next run have these coefficients, of one group after another,
        and these keys of noise, one for each call."""
        row = self._rows[number]
        row[:, 0].view(np.uint64)[:] = keys
        row.view(np.float64)[:, 1:] = coefficients.reshape(-1, self._width)[self._groups]
