"""A rule's step in a program: one run over flat arrays, its coefficients a row of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiling import python_text
from ..groups import Runs
from ..rule import Rule
from ..rule_engines.entry import job_of
from ..rule_engines.numba_loops import FIRST_SCALAR, shared_loop
from .numba_penalty import add_clip
from .numba_words import Words, copy
from .program import Program

CHUNK = 1 << 13  # elements that a thread takes at a time
SHARED = 1 << 15  # elements from which threads share them


def step(
    program: Program, words: Words, rule: Rule, arrays: tuple[np.ndarray, ...], runs: Runs,
    table: np.ndarray, clip_norm: float | None,
) -> None:  # fmt: skip
    """Step flat `arrays` (param, grad, then states) with the row of `table` of the program's step.

    A row holds the coefficients of one group after another; each of `runs` takes those of its own.
    """
    function, job, kept = _calls(rule, arrays, runs, table.shape[1])
    width = len(python_text.scalar_names(rule))
    coefficients = job[FIRST_SCALAR:].view(np.float64).reshape(-1, width)
    given = copy(program, table[0], job[FIRST_SCALAR:], rule.name)
    words.add(given, 0, table.ctypes.data, table.strides[0])
    if clip_norm is not None:
        add_clip(program, arrays[1], clip_norm, coefficients)
    size = int(runs.sizes.sum())
    chunk = CHUNK if size >= SHARED else 0
    program.add(function, job, arrays, kept, table, size=size, chunk=chunk, name=rule.name)


def _calls(
    rule: Rule, arrays: tuple[np.ndarray, ...], runs: Runs, numbers: int
) -> tuple[int, np.ndarray, Any]:
    """The function that steps all of them, its job with room for so many coefficients, and what
    that holds the addresses of."""
    loop = shared_loop(rule, arrays[0].dtype.name).address
    width, job = len(python_text.scalar_names(rule)), job_of(rule, arrays)
    if runs.whole(arrays[0].size) and numbers == width:
        return loop, job, None
    from ..rule_engines.numba_bundle import Bundle, walk

    ends = runs.sizes.cumsum()
    addresses = np.add.outer(runs.starts * arrays[0].itemsize, job[: len(arrays)])
    columns = [[each] for each in arrays]
    bundle = Bundle(columns, arrays[0].dtype, addresses, ends, runs.groups)
    return walk.address, bundle.job(loop, width, [0.0] * numbers), bundle
