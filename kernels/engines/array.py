"""Engine "array": a rule as plain NumPy or CuPy expressions, one pass over memory for each.

It is the readable reference and the pure-array path that the fused engines are measured against.
"""

from __future__ import annotations

import numpy as np

from ...backend import Array
from ..rule import PLAIN, Rule
from .base import Engine, compute_dtype


class ArrayEngine(Engine):
    """Calls the rule's own Python function on whole arrays and copies the results in place."""

    name = "array"
    devices = ("cpu", "cuda")

    def missing(self) -> tuple[str, str]:
        return "", ""

    def run(
        self,
        rule: Rule,
        arrays: tuple[Array, ...],
        coefficients: tuple[float, ...],
        contiguous: bool,
    ) -> None:
        compute = compute_dtype(arrays[0].dtype)
        p, g, *state = (a.astype(compute, copy=False) for a in arrays)
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            if coefficients[:3] != PLAIN:
                p, g = rule.prelude(p, g, *coefficients[:3])
            results = rule.update(p, g, *state, *coefficients[3:])
            for array, result in zip((arrays[0], *arrays[2:]), results, strict=True):
                array[...] = result

    def warmup(self, rule: Rule, dtype: str) -> None:
        return None
