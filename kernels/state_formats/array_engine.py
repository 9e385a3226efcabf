"""Engine "array": a step as array expressions, on decoded states that are encoded again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.failures import Explained
from ..rule_engines.array import new_values
from . import array as expressions
from . import bfloat16
from .base import EncodedEngine, Step
from .layout import BFLOAT16, EIGHT_BIT


class ArrayEngine(EncodedEngine):
    """All results are there before the first is written, as for arrays of floats, and as they are
    written: on a GPU that takes no memory and no code then."""

    name = "array"

    def run(self, steps: Sequence[Step], kept: dict[str, Any]) -> bool:
        results: list[tuple[Array, Array]] = []
        first = steps[0].call.param
        place = nullcontext() if isinstance(first, np.ndarray) else first.device
        with place, np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            for step in steps:
                with Explained(step.call.layout.rule.name, step.call.param, self.name):
                    named = dict(zip(step.call.layout.arrays(), step.call.arrays, strict=True))
                    for name, new in _results(step).items():
                        old = named[name]
                        ready = new.astype(old.dtype, order="C", copy=False).reshape(old.shape)
                        results.append((old, ready))
            for old, ready in results:
                old[...] = ready
        return True


def _results(step: Step) -> dict[str, Array]:
    """The new values of each array that is written."""
    call = step.call
    layout, block = call.layout, call.block
    given = {
        name: array.reshape(-1) for name, array in zip(layout.arrays(), call.arrays, strict=True)
    }
    unsigned, grad, size = layout.rule.unsigned, given["g_at"], call.param.size
    p = given["p_at"]
    if layout.param == BFLOAT16:
        p = bfloat16.joined(expressions.word(p), expressions.word(given["p_rest_at"]))
    if layout.grad == BFLOAT16:
        grad = bfloat16.widened(expressions.word(grad))
    kinds = dict(zip(layout.rule.state, layout.states, strict=True))
    values = [p, grad]
    for name, kind in kinds.items():
        state = given[f"{name}_at"]
        if kind == BFLOAT16:
            state = bfloat16.widened(expressions.word(state))
        elif kind == EIGHT_BIT:
            scales, signed = given[f"{name}_scales"], name not in unsigned
            state = expressions.decoded(state, scales, signed, block)
        values.append(state)
    new, *states = new_values(layout.rule, tuple(values), step.coefficients)
    found = {"p_at": new}
    if layout.param == BFLOAT16:
        found = {"p_at": bfloat16.upper_half(new), "p_rest_at": bfloat16.lower_half(new)}
    words = expressions.noise_of(size, block, step.key, layout.pairs(), grad)
    for k, (name, kind) in enumerate(kinds.items()):
        value = states[k]
        if kind == BFLOAT16:
            value = expressions.rounded(value, words[k // 2][k % 2])
        elif kind == EIGHT_BIT:
            u, signed = words[k // 2][k % 2], name not in unsigned
            value, found[f"{name}_scales"] = expressions.encoded(value, u, signed, block)
        found[f"{name}_at"] = value
    return found
