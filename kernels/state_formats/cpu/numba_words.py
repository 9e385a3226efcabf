"""The formulas of state formats as Numba compiles them for the CPU."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from ...compiling.specialize import specialize
from ...simd.loops import inline
from ..layout import FORMULAS
from ..numba_ir import intrinsics

WORDS: dict[str, Any] = intrinsics(intrinsic, types)

NAMES: dict[str, Any] = {
    "word": WORDS["word"],
    "plus": WORDS["plus"],
    **{each.__name__: inline(specialize(each, **WORDS)) for each in FORMULAS},
}
"""What the statements of a layout call."""
