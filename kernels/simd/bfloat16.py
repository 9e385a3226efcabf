"""bfloat16 in Numba code on the CPU: arrays of its bits, read as float32 and rounded when stored.

By the formulas of state formats, in integers, of which vectors are made as of any others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from ..compiling.specialize import specialize
from ..state_formats import bfloat16
from ..state_formats.numba_ir import intrinsics
from .loops import inline

_WORDS: dict[str, Any] = intrinsics(intrinsic, types)
_word = _WORDS["word"]
_number = inline(specialize(bfloat16.widened, **_WORDS))
_nearest = inline(specialize(bfloat16.nearest, **_WORDS))


@inline
def from_bfloat16(bits: Any) -> Any:
    """The float32 of the bits of a bfloat16, as int16."""
    return _number(_word(bits))


@inline
def to_bfloat16(value: Any) -> Any:
    """The bits of a float32 rounded to the nearest bfloat16, halves to even, as int16."""
    return np.int16(_nearest(value))
