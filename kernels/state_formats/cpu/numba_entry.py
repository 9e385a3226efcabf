"""How one call comes from Python into compiled code, with all that must be checked, in a few us.

Whatever is not of the plainest kind is refused before any write; the checks in Python then explain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from ...compiling.jit import njit
from ...compiling.python_text import scalar_names
from ...crew.atomics import call, pointer
from ...crew.crew import HELPED
from ...rule_engines.numba_fields import (
    ALIGNED,
    C_ORDER,
    DATA,
    DTYPE,
    FLAGS,
    LOW,
    NDARRAY,
    NDIM,
    SHAPE,
    START,
    TABLE,
    TABLE_WORDS,
    TYPE,
    WRITEABLE,
    items,
    read_floats,
    word,
    word_of_dtype,
)
from ...rule_engines.numba_fields import KIND as BITS
from ..layout import Layout
from .numba_loops import BLOCK as BLOCK_WORD
from .numba_loops import FIRST_ARRAY, SIZE, block_loop

DONE, UNFIT, LARGE = range(3)
# Words of a plan: where TABLE lies, numbers of arrays and coefficients, the loop; then for each
# array the word of its dtype, its role, and the bytes of an element; then a job.
KNOWN, ARRAYS, COEFFICIENTS, LOOP, FIRST = range(5)
WRITTEN, READ, SCALES = range(3)
"""Roles: arrays of the parameter's shape that are written, or only read; one number a block."""
INT64, FLOAT64 = types.int64, types.float64


class Plan:
    """What calls of a layout have in common; `address` is that of its words.

    Attributes:
        words: of a job.
        function: the address of the layout's loop.
    """

    __slots__ = ("_words", "address", "function", "words")

    def __init__(self, layout: Layout) -> None:
        arrays, coefficients = layout.arrays(), len(scalar_names(layout.rule))
        self.words = FIRST_ARRAY + len(arrays) + 1 + coefficients
        self.function: int = block_loop(layout).address
        self._words = np.zeros(FIRST + 3 * len(arrays) + self.words, np.int64)
        self._words[:FIRST] = TABLE.ctypes.data, len(arrays), coefficients, self.function
        for k, (name, dtype) in enumerate(arrays.items()):
            role = SCALES if name.endswith("_scales") else READ if name == "g_at" else WRITTEN
            kind = np.dtype(dtype)
            self._words[FIRST + 3 * k :][:3] = word_of_dtype(kind), role, kind.itemsize
        self.address: int = self._words.ctypes.data


@njit()
def _fill(arrays: Any, coefficients: Any, key: Any, block: Any, plan: Any, job: Any) -> int:
    """Look at the arrays of a call and write the job there; its elements, or -1 if it is unfit."""
    head = carray(pointer(plan), FIRST, INT64)
    count = head[ARRAYS]
    known = carray(pointer(head[KNOWN]), TABLE_WORDS, INT64)
    told = carray(pointer(plan + 8 * FIRST), (count, 3), INT64)
    objects = items(known, arrays, count)
    if objects.size == 0:
        return -1
    addresses = carray(pointer(job + 8 * FIRST_ARRAY), count, INT64)
    first = carray(pointer(objects[0] + known[START]), 8, INT64)
    if first[TYPE] != known[NDARRAY]:
        return -1
    shape = carray(pointer(first[SHAPE]), first[NDIM] & LOW, INT64)
    size = 1
    for axis in range(shape.size):
        size *= shape[axis]
    blocks = (size + block - 1) // block
    for k in range(count):
        fields = carray(pointer(objects[k] + known[START]), 8, INT64)
        if fields[TYPE] != known[NDARRAY]:
            return -1
        if word(fields[DTYPE] + known[START] + 16) & BITS != told[k, 0]:
            return -1
        needed = C_ORDER | ALIGNED | (0 if told[k, 1] == READ else WRITEABLE)
        if fields[FLAGS] & needed != needed:
            return -1
        own = carray(pointer(fields[SHAPE]), fields[NDIM] & LOW, INT64)
        if told[k, 1] == SCALES:
            if own.size != 1 or own[0] != blocks:
                return -1
        else:
            if own.size != shape.size:
                return -1
            for axis in range(shape.size):
                if own[axis] != shape[axis]:
                    return -1
        addresses[k] = fields[DATA]
    for a in range(count):
        end = addresses[a] + told[a, 2] * (blocks if told[a, 1] == SCALES else size)
        for b in range(count):
            if a != b and addresses[a] <= addresses[b] < end:
                return -1
    varied = job + 8 * (FIRST_ARRAY + count)
    values = carray(pointer(varied + 8), head[COEFFICIENTS], FLOAT64)
    if not read_floats(known, coefficients, values):
        return -1
    own_job = carray(pointer(job), FIRST_ARRAY, INT64)
    own_job[SIZE], own_job[BLOCK_WORD] = size, block
    carray(pointer(varied), 1, INT64)[0] = key
    return size


@njit("int64(int64, int64, int64, int64, int64)")
def step_one(arrays: int, coefficients: int, key: int, block: int, plan: int) -> int:
    """Step one call, if its arrays are fit and small: DONE. Otherwise nothing was written.

    Args:
        arrays, coefficients: the `id` of a tuple of arrays and of one of floats.
        key: of the noise.
        block: elements of a block.
        plan: `Plan.address` of the layout.

    Returns:
        UNFIT: arrays are not fit, or share memory.
        LARGE: they are better shared by the crew.
    """
    head = carray(pointer(plan), FIRST, INT64)
    told = carray(pointer(plan + 8 * FIRST), (head[ARRAYS], 3), INT64)
    job = plan + 8 * (FIRST + 3 * head[ARRAYS])
    size = _fill(arrays, coefficients, key, block, plan, job)
    if size < 0:
        return UNFIT
    width = 0
    for k in range(head[ARRAYS]):
        width += told[k, 2]
    if size * width >= HELPED:
        return LARGE
    if size > 0:
        call(head[LOOP], 0, (size + block - 1) // block, job)
    return DONE


@njit("boolean(int64, int64, int64, int64, int64, int64)")
def write_job(arrays: int, coefficients: int, key: int, block: int, plan: int, job: int) -> bool:
    """Write the job of one call to the address `job`; False where its arrays are not fit."""
    return _fill(arrays, coefficients, key, block, plan, job) >= 0
