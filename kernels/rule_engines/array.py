"""Engine "array": a rule as plain NumPy or CuPy expressions, one pass over memory for each.

It is the readable reference and the pure-array path that the fused engines are measured against.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...backend import Array
from ...backend.failures import Explained
from ..compiling.dtypes import compute_dtype
from ..rule import PLAIN, Rule, decayed
from .base import Engine


class ArrayEngine(Engine):
    """Calls the rule's own Python function on whole arrays and copies the results in place.

    On a GPU each array expression takes memory and may have to be compiled. So there all results
    are worked out before the first write, those of several calls together: besides the temporaries
    of one call they take the memory of all that is written.
    """

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
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            if isinstance(arrays[0], np.ndarray):
                _write(arrays, _results(rule, arrays, coefficients))
            else:
                with arrays[0].device:
                    _write(arrays, _ready(arrays, _results(rule, arrays, coefficients)))

    def run_each(
        self,
        rule: Rule,
        calls: Sequence[tuple[Array, ...]],
        coefficients: Sequence[tuple[float, ...]],
        contiguous: Sequence[bool],
    ) -> None:
        if isinstance(calls[0][0], np.ndarray):
            return super().run_each(rule, calls, coefficients, contiguous)
        results = []
        with calls[0][0].device:
            for arrays, numbers in zip(calls, coefficients, strict=True):
                with Explained(rule.name, arrays[0], self.name):
                    results.append(_ready(arrays, _results(rule, arrays, numbers)))
            for arrays, new in zip(calls, results, strict=True):
                _write(arrays, new)

    def warmup(self, rule: Rule, dtype: str) -> None:
        return None


def _results(
    rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]
) -> Sequence[Array]:
    """The new param and states, in the dtype of the computation."""
    compute = compute_dtype(arrays[0].dtype)
    values = tuple(a.astype(compute, copy=False) for a in arrays)
    return new_values(rule, values, coefficients)


def new_values(
    rule: Rule, values: tuple[Array, ...], coefficients: tuple[float, ...]
) -> Sequence[Array]:
    """What a rule makes of arrays that it computes in: the new param and states."""
    p, g, *state = values
    first, end = len(rule.factors), len(rule.factors) + len(rule.coefficients)
    factors = coefficients[:first]
    if factors != PLAIN or rule.prelude is decayed:
        p, g = rule.prelude(p, g, *factors)
    updated = rule.update(p, g, *state[: len(rule.updated)], *coefficients[first:end])
    if rule.after is None:
        return updated
    return (*updated, *rule.after(updated[0], state[-1], *coefficients[end:]))


def _ready(arrays: tuple[Array, ...], results: Sequence[Array]) -> Sequence[Array]:
    """Results on a GPU as `_write` takes them without memory, and without code of its own.

    CuPy copies between arrays of one dtype and the same strides by a transfer; for any other it
    compiles a kernel, which is done here, by writing into an array what it holds.
    """
    dtype = arrays[0].dtype
    results = [result.astype(dtype, order="C", copy=False) for result in results]
    for array, result in zip((arrays[0], *arrays[2:]), results, strict=True):
        if array.strides != result.strides:
            array[...] = array.copy()
    return results


def _write(arrays: tuple[Array, ...], results: Sequence[Array]) -> None:
    for array, result in zip((arrays[0], *arrays[2:]), results, strict=True):
        array[...] = result
