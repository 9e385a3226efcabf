"""The arguments of dropout, checked before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...backend.checks.numbers import WORD, Check, finite_number, random_word
from .contract import Mask

STEP = 2.0**-32
"""Between two probabilities that 32 random bits can tell apart."""
_PROBABILITY = "a number in (0, 1], such as 0.8"


def keep_probability(name: str, value: Any) -> float:
    """A number in (0, 1], and not less than the generator's step."""
    if not STEP <= (number := finite_number(name, value, _PROBABILITY)) <= 1:
        least = ", and at least 2^-32, the step of its random bits" if 0 < number < 1 else ""
        raise ValueError(f"{name} is {value!r}; expected {_PROBABILITY}{least}")
    return number


OPTIONS: Mapping[str, Check] = {"keep_prob": keep_probability}


def mask_of(keep_prob: Any, seed: Any, draw: Any) -> Mask:
    """The mask that these say, checked."""
    last, scale = _threshold(keep_prob) if type(keep_prob) is float else _checked(keep_prob)
    if type(seed) is int and type(draw) is int and 0 <= seed < WORD and 0 <= draw < WORD:
        return Mask(last, scale, seed, draw)
    return Mask(last, scale, random_word("seed", seed), random_word("draw", draw))


def _checked(keep_prob: Any) -> tuple[int, float]:
    """The largest 32-bit number below keep_prob 2^32, and 1 / keep_prob."""
    number = keep_probability("keep_prob", keep_prob)
    return math.ceil(number / STEP) - 1, 1.0 / number


_threshold = lru_cache(maxsize=64)(_checked)
