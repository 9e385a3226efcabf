"""A rule's step in a program: one run over flat arrays, its coefficients a row of a table."""

from __future__ import annotations

import numpy as np

from ..compiling import python_text
from ..rule import Rule
from ..rule_engines.numba_loops import FIRST_SCALAR, shared_loop
from .numba_penalty import add_clip
from .numba_words import Words, copy
from .program import Program

CHUNK = 1 << 13  # elements that a thread takes at a time
SHARED = 1 << 15  # elements from which threads share them


def step(
    program: Program, words: Words, rule: Rule, arrays: tuple[np.ndarray, ...], table: np.ndarray,
    clip_norm: float | None,
) -> None:  # fmt: skip
    """Step `arrays` (param, grad, then states) with the row of `table` of the program's step."""
    scalars = len(python_text.scalar_names(rule))
    job = np.zeros(FIRST_SCALAR + scalars, np.int64)
    job[: len(arrays)] = [array.ctypes.data for array in arrays]
    given = copy(program, table[0], job[FIRST_SCALAR:], rule.name)
    words.add(given, 0, table.ctypes.data, table.strides[0])
    if clip_norm is not None:  # the first coefficient is the factor on gradients
        add_clip(program, arrays[1], clip_norm, job[FIRST_SCALAR : FIRST_SCALAR + 1])
    size = arrays[0].size
    function = shared_loop(rule, arrays[0].dtype.name).address
    chunk = CHUNK if size >= SHARED else 0
    program.add(function, job, arrays, table, size=size, chunk=chunk, name=rule.name)
