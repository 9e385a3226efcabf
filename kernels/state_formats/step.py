"""A step function's call with states in 16 or 8 bits, or with a parameter in two halves."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...backend.beside_torch import beside_torch
from ...backend.checks.numbers import random_word
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from ..engine_table import find_engine
from ..rule import Prepared
from . import noise
from .base import EncodedEngine, Step
from .contract import checked
from .engines import OPERATION
from .formats import seen_as_bits


class Rounding(NamedTuple):
    """What a step function is told beside its arrays.

    Attributes:
        function: its name.
        seed: of the noise, or None where it was left out.
        step: the number of the step, or None where it was left out, or does not count.
        remainder: the lower halves of a bfloat16 parameter, or None.
    """

    function: str
    seed: Any
    step: int | None
    remainder: Any

    @property
    def told(self) -> bool:
        """Whether there is something to tell the noise of a step by."""
        return self.seed is not None or self.step is not None

    def key(self) -> int:
        """That of the noise.

        Raises:
            TypeError, ValueError: seed and step are left out, or seed is none.
        """
        if not self.told:
            raise TypeError(
                f"{self.function} rounds states in 16 or 8 bits by noise that is another at each "
                "step; expected seed=, such as the number of the step"
            )
        seed = 0 if self.seed is None else random_word("seed", self.seed)
        return noise.key_of(seed, int(self.step or 0))


def step_one(prepared: Prepared, arrays: tuple[Any, ...], engine: str, rounding: Rounding) -> None:
    """A rule's step in place on arrays of which some are encoded."""
    rule, coefficients = prepared
    if rounding.remainder is None and rounding.told:
        at_once = OPERATION.at_once(engine, arrays[0])
        if at_once is not None and at_once.quick(rule, arrays, coefficients, rounding.key()):
            return
    names = (*rule.arguments, "remainder")
    given = [*map(seen_as_bits, (*arrays, rounding.remainder))]
    with beside_torch(given) or nullcontext():
        *taken, remainder = taken_in(names, given)
        made = checked(rule, taken, remainder)
        key = rounding.key() if made.layout.pairs() else 0
        chosen, step = engine_for(made.param, engine), Step(made, coefficients, key)
        if made.param.size:
            with Explained(rule.name, made.param, chosen.name):
                if not chosen.run([step], {}):
                    OPERATION.get("array").run([step], {})


def engine_for(param: Array, engine: str) -> EncodedEngine:
    """The engine that steps such a parameter: the one of float32, or of what has as many bytes.

    Raises:
        EngineUnavailableError, TypeError, ValueError: as `find_engine`.
    """
    like = param if param.dtype == np.float32 else param.view(np.float16)
    return OPERATION.get(find_engine(engine, like, True).name)
